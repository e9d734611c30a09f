"""Commands in folders whose names need quoting in a shell or URL, or are not ASCII. The study is made without Ray."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from optuna.samplers import RandomSampler

from tests.conftest import TINY
from tests.integration.commands import WEIGHTSEARCH
from tests.stores import attempt, driving, record, report
from weightsearch.config import load_study
from weightsearch.search.ledger import stored_config
from weightsearch.search.space import distributions

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0"}
NAME = "100% #1?x=y&z ü深"


def folder_with_a_study(place: Path) -> Path:
    """One trial of six is complete, one failed, one waits."""
    place.mkdir()
    storage = f"sqlite:///{str(place).replace('%', '%25')}/tiny.db"
    (place / "tiny.yaml").write_text(TINY.replace("sqlite:///tiny.db", storage))
    config = load_study(place / "tiny.yaml")
    with driving(config.storage, "tiny", stored_config(config)) as writer:
        for number in range(3):
            trial = writer.ask(RandomSampler(seed=number), distributions(config.space)).number
            if number < 2:
                report(writer, trial, attempt(str(number)), record(1))
        writer.complete(0)
        writer.fail(1, "=cmd|' /C calc'!A0")
        writer.put_back(2)
    return place


def run(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))
    }
    done = subprocess.run(
        [*WEIGHTSEARCH, *words], cwd=cwd, env=environment | variables, capture_output=True, timeout=200, check=False
    )
    out, err = (stream.decode("utf-8", "backslashreplace") for stream in (done.stdout, done.stderr))
    assert "Traceback" not in out + err
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


@pytest.mark.parametrize("variables", [{}, ASCII], ids=["utf-8", "ascii"])
def test_commands_in_such_a_folder(tmp_path, variables):
    folder = folder_with_a_study(tmp_path / NAME)
    shown = run("show", f"{folder}/tiny.yaml", cwd=tmp_path, **variables)
    assert shown.returncode == 0
    resume = next(line for line in shown.stdout.splitlines() if "resume with: " in line).partition("resume with: ")[2]
    assert shlex.split(resume, comments=True) == ["weightsearch", "run", f"{folder}/tiny.yaml"]
    done = run("export", "tiny.yaml", "--trials", "ü.csv", "-o", "ü.yaml", cwd=folder, **variables)
    assert (done.returncode, done.stdout) == (0, "written: ü.csv\nwritten: ü.yaml\n")
    assert "'=cmd" in (folder / "ü.csv").read_text()
    assert run("validate", f"{folder}/tiny.yaml", cwd=tmp_path, **variables).returncode == 0
    gone = run("show", f"{folder}/tiny.yaml", "--set", "storage=sqlite:///ü.db", cwd=tmp_path, **variables)
    assert gone.returncode == 2
    assert f"there is no study database {tmp_path}/ü.db" in gone.stderr


def test_an_output_that_cannot_show_a_letter(tmp_path):
    folder = folder_with_a_study(tmp_path / "ü")
    shown = run("show", f"{folder}/tiny.yaml", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert shown.returncode == 0
    assert r"\xfc/tiny.yaml" in shown.stdout
