"""A network that loses to a trivial baseline: every view that gives a verdict says so in the same words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from optuna.samplers import RandomSampler
from typer.testing import CliRunner

from tests.stores import HERE, driving
from tests.synthetic import PROTOCOL, SPACE, record, spec, synthetic
from weightsearch.cli import app
from weightsearch.dashboards.findings import read_findings
from weightsearch.dashboards.notes import study_note
from weightsearch.dashboards.summary_part import summary_part
from weightsearch.study.store import NAIVE, NAIVE_ON_TEST, StudyStore
from weightsearch.study.writer import Attempt

OBJECTIVES = {"abs_rel": "minimize"}
WEIGHTS = {"integer": 1.0, "fractional": 10.0, "consistency": 0.5}

LOSES = (
    "is no better than constant_depth, a trivial baseline that ignores the image: abs_rel 0.28 against 0.224 on the "
    "validation split (mean of 3 fresh seeds), 0.47 against 0.332 on the test split. Until it is better, comparing "
    "weights means little"
)


def said(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def study(tmp_path, monkeypatch) -> str:
    """The search's values lie below that of constant depth, those of fresh seeds above."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("name: synthetic\nstorage: sqlite:///s.db\n")
    synthetic("sqlite:///s.db", 4, states=["COMPLETE"])
    store = StudyStore.open("sqlite:///s.db", "synthetic", mode="write")
    store.note(NAIVE, {"constant_depth": {"abs_rel": 0.224}, "mean_depth": {"abs_rel": 0.23}})
    store.note(NAIVE_ON_TEST, {"constant_depth": {"abs_rel": 0.332}, "mean_depth": {"abs_rel": 0.34}})
    found = read_findings(store)
    assert found.best.values["abs_rel"] < 0.224
    for trial in (found.best.number, 0, 1):
        for seed, value in enumerate((0.27, 0.28, 0.29)):
            store.confirm(trial, seed, {"validation": {"abs_rel": value}, "test": {"abs_rel": value + 0.19}})
    store.close()
    return "s.yaml"


def test_show_compare_report_and_note_say_that_the_network_loses(study):
    store = StudyStore.open("sqlite:///s.db", "synthetic")
    found = read_findings(store)
    store.close()
    plain = {
        "show": said("show", study),
        "compare": said("compare", study),
        "report": " ".join(summary_part(found).text),
        "note": study_note(found).replace("\\_", "_"),
        "show --json": json.loads(said("show", study, "--json"))["verdict"][0],
        "compare --json": json.loads(said("compare", study, "--json"))["verdicts"]["synthetic"][0],
    }
    assert [name for name, text in plain.items() if LOSES not in text] == []


def test_compare_and_show_list_the_trivial_baselines_on_both_splits(study):
    rows = {line.split()[0]: line.split() for line in said("compare", study).splitlines() if line.strip()}
    assert rows["constant_depth"][1:3] == ["0.2240", "0.3320"]
    shown = {line.split()[0]: line for line in said("show", study).splitlines() if line.strip()}
    assert "0.2240" in shown["constant_depth"]
    assert "0.3320" in shown["constant_depth"]
    tables = [line for line in said("show", study).splitlines() if line.count("  ") > 2]
    assert [line.split("  ")[0].strip() for line in tables if "abs_rel validation" in line] == ["", "fresh seeds"]
    assert max(len(line.rstrip()) for line in tables) <= 80  # with its names in full on a terminal of 80 columns


def test_show_warns_of_the_best_trial_s_terms_without_pixels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("name: synthetic\nstorage: sqlite:///s.db\n")
    with driving("sqlite:///s.db", "synthetic", spec(OBJECTIVES)) as writer:
        for empty in ({}, {"consistency": 20}):  # the second trial is the better one
            number = writer.ask(RandomSampler(seed=0), SPACE).number
            found = record(WEIGHTS, 1, number)
            metrics = found.metrics | {"abs_rel": 0.5 - 0.1 * number}
            found = replace(found, metrics=metrics, without_pixels=empty)
            writer.record(number, Attempt("attempt", 0, PROTOCOL, HERE), found)
            writer.complete(number)
    text = said("show", "s.yaml")
    line = "warning: trial 1: the loss term 'consistency' had no pixel to learn from at 20 of 20 steps"
    assert line in text
    assert "trial 0: the loss term" not in text
    assert "warning" not in said("show", "s.yaml", "--json")
