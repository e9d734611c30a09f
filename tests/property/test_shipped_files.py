"""The shipped study files, broken in one place each: one located line and exit status 2, whatever it is."""

from __future__ import annotations

import copy
import functools
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.helpers.study_files import RANGES, VALUES, paths
from weightsearch import cli
from weightsearch.config import load_study
from weightsearch.errors import ConfigError

FILES = sorted((ROOT / "studies").glob("*.yaml"))
BROKEN_RANGES = st.one_of(
    RANGES,
    st.sampled_from(
        [
            {"low": 3, "high": 1},
            {"low": 0, "high": 1, "log": True},
            {"low": 1, "high": float("nan")},
            {"low": 1, "high": 2, "step": 0},
            {"low": 1},
            {"choices": []},
            {"choices": [1, 1]},
        ]
    ),
)
BYTES = st.sampled_from(
    [
        b"\t",
        b"{",
        b"]",
        b"&a *a",
        b": :",
        b"- x\n",
        b"'",
        b'"',
        b"%YAML 9\n",
        b"---\n",
        b"!!python/object/apply:os.system [x]",
        b"\x00",
        b"\xff\xfe",
        b"\xe4",
        b"\x1b[31m",
        b"<<: 3\n",
        b"*none",
    ]
)
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
counted = {"broken": 0}


@functools.cache
def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@st.composite
def tree_with_a_fault(draw: st.DrawFn) -> bytes:
    tree = copy.deepcopy(parsed(draw(st.sampled_from(FILES))))
    path = draw(st.sampled_from([path for path in paths(tree) if path]))
    branch: Any = tree
    for key in path[:-1]:
        branch = branch[key]
    action = draw(st.sampled_from(["replace", "range", "remove", "rename", "add"]))
    if action == "range":
        branch[path[-1]] = draw(BROKEN_RANGES)
    elif action == "replace" or isinstance(branch, list):
        branch[path[-1]] = draw(VALUES)
    elif action == "remove":
        del branch[path[-1]]
    elif action == "rename":
        branch[draw(st.text(min_size=1, max_size=8))] = branch.pop(path[-1])
    else:
        branch[draw(st.text(min_size=1, max_size=8))] = draw(VALUES)
    return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")


@st.composite
def text_with_a_fault(draw: st.DrawFn) -> bytes:
    data = draw(st.sampled_from(FILES)).read_bytes()
    at = draw(st.integers(0, len(data)))
    end = draw(st.integers(at, min(len(data), at + 30)))
    return data[:at] + draw(BYTES) + data[end:]


@st.composite
def encoding_with_a_fault(draw: st.DrawFn) -> bytes:
    text = draw(st.sampled_from(FILES)).read_text().replace("name:", "name: ä\nnäme:", 1)
    return text.encode(draw(st.sampled_from(["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252"])))


@st.composite
def size_with_a_fault(draw: st.DrawFn) -> bytes:
    data = draw(st.sampled_from(FILES)).read_bytes()
    deep = draw(st.integers(60, 3000))
    return draw(
        st.sampled_from(
            [
                data + b"\nx: " + b"[" * deep + b"]" * deep,
                data + b"\nx: " + b"{a: " * deep + b"1" + b"}" * deep,
                data + b"\n" + b"".join(b" " * n + b"k:\n" for n in range(min(deep, 900))),
                data + b"\nx: [" + b"1, " * deep + b"]",
                data + b"\n#" + b"x" * (1_000_000 + deep),
                b"a: &a [x, x]\nb: &b [*a, *a]\n"
                + b"".join(
                    f"c{n}: &c{n} [{', '.join([f'*c{n - 1}' if n else '*b'] * 9)}]\n".encode() for n in range(9)
                ),
                b"",
                b"\n" * deep,
                b"- 1\n" * 10,
                b"text",
            ]
        )
    )


@pytest.fixture
def folder(tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, place in (("SEVEN_SCENES", "7scenes"), ("KITTI", "kitti_raw"), ("NYU", "7scenes")):
        monkeypatch.setenv(name, str(data_root / place))
    return tmp_path


@settings(max_examples=400, deadline=None, suppress_health_check=CHECKS, derandomize=True)
@given(
    data=st.one_of(
        tree_with_a_fault(), tree_with_a_fault(), text_with_a_fault(), encoding_with_a_fault(), size_with_a_fault()
    )
)
def broken_files(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    path = folder / "study.yaml"
    path.write_bytes(data)
    try:
        load_study(path)
    except ConfigError:
        pass
    else:
        assume(False)  # it is still a study
    monkeypatch.setattr(sys, "argv", ["weightsearch", "run", "study.yaml"])
    monkeypatch.setattr(sys, "orig_argv", ["weightsearch", "run", "study.yaml"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr().err
    assert end.value.code == 2
    lines = said.strip().splitlines()
    for line in lines:  # a value that was put in may hold mistakes of its own
        assert re.search(r" \((?:study|\S*/studies/\w+)\.yaml:\d+\)$", line), line  # or the study that it extends
    assert not any(path.name != "study.yaml" for path in folder.iterdir())  # and nothing was made
    counted["broken"] += len(lines) == 1


def test_at_least_300_broken_files_are_one_located_line_each(folder, capsys, monkeypatch):
    counted["broken"] = 0
    broken_files(folder, capsys, monkeypatch)
    assert counted["broken"] >= 300
