"""A network that loses to a trivial baseline: every view that gives a verdict says so in the same words."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import pytest
from optuna.samplers import RandomSampler
from typer.testing import CliRunner

from tests.stores import HERE, driving, with_empty
from tests.synthetic import PROTOCOL, SPACE, config, fill, record, synthetic
from weightsearch.cli import app
from weightsearch.dashboards.report.data import read_report_data
from weightsearch.dashboards.report.notes import study_note
from weightsearch.dashboards.report.summary_section import summary_section
from weightsearch.study.store import NAIVE, NAIVE_ON_TEST, WARNINGS, StudyStore
from weightsearch.study.writer import Attempt

OBJECTIVES = {"abs_rel": "minimize"}
WEIGHTS = {"integer": 1.0, "fractional": 10.0, "consistency": 0.5}

LOSES = (
    "is no better than constant_depth, a trivial baseline that ignores the image: abs_rel 0.28 against 0.224 on the "
    "validation split (mean of 3 new seeds), 0.47 against 0.332 on the test split. Until it is better, comparing "
    "weights means little"
)


def said(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def study(tmp_path, monkeypatch) -> str:
    """The search's values lie below that of constant depth, those of new seeds above."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("name: synthetic\nstorage: sqlite:///s.db\n")
    synthetic("sqlite:///s.db", 4, states=["COMPLETE"])
    store = StudyStore.open("sqlite:///s.db", "synthetic", mode="write")
    store.note(NAIVE, {"constant_depth": {"abs_rel": 0.224}, "mean_depth": {"abs_rel": 0.23}})
    store.note(NAIVE_ON_TEST, {"constant_depth": {"abs_rel": 0.332}, "mean_depth": {"abs_rel": 0.34}})
    found = read_report_data(store)
    assert found.best.values["abs_rel"] < 0.224
    for trial in (found.best.number, 0, 1):
        for seed, value in enumerate((0.27, 0.28, 0.29)):
            store.confirm(trial, seed, {"validation": {"abs_rel": value}, "test": {"abs_rel": value + 0.19}})
    store.close()
    return "s.yaml"


def test_show_compare_report_and_note_say_that_the_network_loses(study):
    store = StudyStore.open("sqlite:///s.db", "synthetic")
    found = read_report_data(store)
    store.close()
    plain = {
        "show": said("show", study),
        "compare": said("compare", study),
        "report": " ".join(summary_section(found).text),
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
    assert [line.split("  ")[0].strip() for line in tables if "abs_rel validation" in line] == ["", "new seeds"]
    assert max(len(line.rstrip()) for line in tables) <= 80  # with its names in full on a terminal of 80 columns


def test_show_warns_of_the_best_trial_s_terms_without_pixels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text("name: synthetic\nstorage: sqlite:///s.db\n")
    with driving("sqlite:///s.db", "synthetic", config(OBJECTIVES)) as writer:
        for empty in ({}, {"consistency": 20}):  # the second trial is the better one
            number = writer.ask(RandomSampler(seed=0), SPACE).number
            found = record(WEIGHTS, 1, number)
            metrics = found.metrics | {"abs_rel": 0.5 - 0.1 * number}
            found = with_empty(replace(found, metrics=metrics), empty)
            writer.record(number, Attempt("attempt", 0, PROTOCOL, HERE), found)
            writer.complete(number)
    text = said("show", "s.yaml")
    line = "warning: trial 1: the loss term 'consistency' had no pixel to learn from at 20 of 20 steps"
    assert line in text
    assert "trial 0: the loss term" not in text
    assert "warning" not in said("show", "s.yaml", "--json")


UNIT = "data: 89% of the known depth is above data.max_depth 6 m: set data.depth_scale: 5000"


def test_warnings_about_the_data_stand_before_every_verdict(study):
    """The warning at the start of `run` was gone when the best trial was named."""
    store = StudyStore.open("sqlite:///s.db", "synthetic", mode="write")
    store.note(WARNINGS, {"lines": []})
    with store.database.writing() as connection:
        store.keep(connection, WARNINGS, {"lines": [UNIT]}, anew=True)
    found = read_report_data(store)
    store.close()
    part = summary_section(found)
    assert part.warnings[0] == f"Warning: {UNIT}"
    plain = {
        "show": said("show", study),
        "compare": said("compare", study),
        "report": " ".join(part.text),
        "note": study_note(found).replace("\\_", "_"),
        "show --json": " ".join(json.loads(said("show", study, "--json"))["verdict"]),
        "compare --json": " ".join(json.loads(said("compare", study, "--json"))["verdicts"]["synthetic"]),
    }
    assert [name for name, text in plain.items() if f"Warning: {UNIT}" not in text] == []
    assert all(text.index("Warning: data") < text.index("is no better than") for text in plain.values())


def test_commands_to_be_copied_name_the_study_that_was_given(tmp_path, monkeypatch):
    """`resume with: weightsearch run tiny.yaml` belonged to another study than the one that was shown."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my s.yaml").write_text("name: other\nstorage: sqlite:///other.db\n")
    sets = ("--set", "name=synthetic", "--set", "storage=sqlite:///s.db")
    with driving("sqlite:///s.db", "synthetic", config(OBJECTIVES)) as writer:
        fill(writer, 2, states=["COMPLETE", "RUNNING"])
        text = said("show", "my s.yaml", *sets)
    words = "--set name=synthetic --set storage=sqlite:///s.db"
    assert f"(process {os.getpid()}); follow it with: weightsearch watch 'my s.yaml' {words}\n" in text
    assert "resume with" not in text
    assert f"resume with: weightsearch run 'my s.yaml' {words}\n" in said("show", "my s.yaml", *sets)
    assert f"Before relying on it, run: weightsearch compare 'my s.yaml' --seeds 3 {words}." in text
    assert "selected as the best of 3 trials that trained to the end" in text
    assert "  trial 3 is running on host, 2 epochs done\n" in text
    said("report", "my s.yaml", *sets, "-o", "r.html")
    page = (tmp_path / "r.html").read_text().replace("&#39;", "'")
    assert (
        f"The noise between seeds is unknown; to measure it, run: weightsearch compare 'my s.yaml' --seeds 3 {words}"
        in page
    )
    assert f"weightsearch analyse claims 'my s.yaml' {words}" in page
    shown = " ".join(said("analyse", "claims", "my s.yaml", *sets, "--json").split())
    assert f"weightsearch analyse claims 'my s.yaml' {words}" in shown
    assert "STUDY" not in text + page.partition("<body")[2] + shown


def test_the_table_says_higher_and_lower(study):
    text = said("show", study)
    assert " % lower" in text or " % higher" in text
    assert not re.search(r"[+-][\d.]+ %", text)
