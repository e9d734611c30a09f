"""Whatever is written into a study file, it is either a study or one located error: never another exception."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import TINY
from tests.helpers.study_files import VALUES, paths
from weightsearch.config import StudyConfig, load_study
from weightsearch.config.yaml_source import parse_yaml
from weightsearch.errors import ConfigError

BASE = yaml.safe_load(TINY)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The tiny study with one to three places changed: replaced, removed, renamed or added to."""
    tree = copy.deepcopy(BASE)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from([path for path in paths(tree) if path]))
        branch = tree
        for key in path[:-1]:
            branch = branch[key]
        action = draw(st.sampled_from(["replace", "remove", "rename", "add"]))
        if action == "replace" or isinstance(branch, list):
            branch[path[-1]] = draw(VALUES)
        elif action == "remove":
            del branch[path[-1]]
        elif action == "rename":
            branch[draw(st.text(max_size=8))] = branch.pop(path[-1])
        else:
            branch[draw(st.text(max_size=8))] = draw(VALUES)
    return tree


def outcome(path: Path) -> StudyConfig | None:
    """The study, or None after one located error."""
    try:
        return load_study(path)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert "\n" not in str(problem)
            assert str(problem).endswith(")")
            assert str(path) in problem.place
        return None


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


FIXTURE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=400, deadline=None, suppress_health_check=FIXTURE)
@given(tree=mutated())
def test_changed_trees(folder, tree):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True))
    config = outcome(path)
    if config is not None:
        values = {name: found.ends()[-1] for name, found in config.space.items()}
        assert config.configuration(values).name == config.name


@settings(max_examples=300, deadline=None, suppress_health_check=FIXTURE)
@given(start=st.integers(0, len(TINY)), length=st.integers(0, 40), text=st.text(max_size=20) | st.binary(max_size=20))
def test_changed_bytes(folder, start, length, text):
    path = folder / "study.yaml"
    inserted = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    path.write_bytes(TINY[:start].encode() + inserted + TINY[start + length :].encode())
    config = outcome(path)  # None after one located error
    assert (
        config is None
        or config.configuration({name: found.ends()[0] for name, found in config.space.items()}) == config.base
    )


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes(data):
    try:
        parse_yaml(data, "x.yaml")
    except ConfigError as error:
        assert len(error.problems) == 1
        assert "\n" not in str(error)


@settings(max_examples=200, deadline=None, suppress_health_check=FIXTURE)
@given(
    override=st.text(max_size=30)
    | st.sampled_from(["loss", "loss.", "search.baselines", "data.size", "train.lr"]).flatmap(
        lambda name: st.text(max_size=12).map(lambda value: f"{name}={value}")
    )
)
def test_any_override(folder, override):
    path = folder / "study.yaml"
    path.write_text(TINY)
    try:
        load_study(path, [override])
    except ConfigError as error:
        for problem in error.problems:
            assert "\n" not in str(problem), repr(problem)
