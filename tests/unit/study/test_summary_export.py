from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from optuna.samplers import RandomSampler

from tests.stores import SPACE, STORED, attempt, driving, record
from weightsearch.cli import app
from weightsearch.config.ranges import Choices, FloatRange
from weightsearch.config.yaml_source import parse_yaml
from weightsearch.errors import StoreError, WriteError
from weightsearch.files import write_text
from weightsearch.study.export import best_configuration, configuration_of, trial_table, write_front
from weightsearch.study.store import NAIVE, NAIVE_ON_TEST
from weightsearch.study.summary import decode, summarise
from weightsearch.study.writer import Writer


@pytest.fixture
def writer(storage):
    with driving(storage) as made:
        made.enqueue_baseline("published", {"loss.a.weight": 2, "train.lr": 1e-3})
        made.enqueue_baseline("without", {"train.lr": 1e-3})
        yield made


def fill(writer: Writer) -> None:
    """Trials 0 and 1: the baselines, .5 and .4; 2: pruned at .1; 3: COMPLETE at .3; 4: failed; 5: RUNNING."""
    for number, value in enumerate([0.5, 0.4, 0.1, 0.3, 0.2, 0.2]):
        assert writer.ask(RandomSampler(seed=number), SPACE).number == number
        if number != 4:
            writer.record(number, attempt(str(number)), record(1, value))
    for number in (0, 1, 3):
        writer.complete(number)
    writer.prune(2)
    writer.fail(4, "why")


def test_what_trivial_baselines_have_is_noted_once_and_must_be_beaten(writer, store):
    assert summarise(store).sentences() == []
    fill(writer)
    assert summarise(store).naive == summarise(store).naive_test == {}
    assert not any("trivial" in one.text for one in summarise(store).sentences())
    measured = {"constant_depth": {"abs_rel": 0.31}, "mean_depth": {"abs_rel": 0.3}}
    with writer.transaction() as connection:
        assert store.keep(connection, NAIVE, measured) == measured
    with writer.transaction() as connection:
        assert store.keep(connection, NAIVE, {"mean_depth": {"abs_rel": 0.9}}) == measured
    store.note(NAIVE_ON_TEST, {"mean_depth": {"abs_rel": 0.35}})
    summary = summarise(store)
    assert summary.naive == summary.to_plain()["naive"] == measured
    assert summary.naive_test == {"mean_depth": {"abs_rel": 0.35}}
    first, *_ = summary.sentences()
    assert first.warning
    assert "trial 3 is no better than mean_depth" in first.text.lower()  # it has just that
    assert summary.to_plain()["verdict"][0] == first.text
    assert (
        "had a better value than mean_depth"
        in replace(summary, naive={"mean_depth": {"abs_rel": 0.301}}).sentences()[0].text
    )
    upwards = replace(summary, directions={"abs_rel": "maximize"})
    assert "no better than constant_depth" in upwards.sentences()[0].text


def test_fresh_seeds_and_test_metrics_are_read_for_the_verdict(writer, store):
    fill(writer)
    writer.record_test(3, {"abs_rel": 0.41, "rmse": 1.0})
    for seed, value in enumerate((0.5, 0.51)):
        store.confirm(3, seed, {"validation": {"abs_rel": value}, "test": {"abs_rel": value + 0.1}})
    summary = summarise(store)
    assert summary.tested == {3: {"abs_rel": 0.41, "rmse": 1.0}}
    assert summary.retrained[3]["test"]["abs_rel"] == {0: 0.6, 1: 0.61}
    assert summary.verdict().seeds == 2


def test_a_summary_counts_and_takes_the_best_complete_trial(writer, store):
    fill(writer)
    summary = summarise(store)
    assert summary.states == {"COMPLETE": 3, "PRUNED": 1, "FAIL": 1, "RUNNING": 1, "WAITING": 0}
    assert summary.best is not None
    assert summary.best.number == 3  # not the pruned one, though its last value was better
    assert [trial.number for trial in summary.front] == [3]
    assert summary.baselines["without"].params == {"loss.a.weight": 0, "train.lr": 1e-3}
    assert summary.baselines["published"].values == {"abs_rel": 0.5}
    assert summary.trials[4].reason == "why"
    plain = summary.to_plain()
    assert plain["study"] == "s"
    assert plain["directions"] == {"abs_rel": "minimize"}
    assert plain["best"] == {"number": 3, "values": {"abs_rel": 0.3}, "params": summary.best.params}
    assert plain["baselines"]["published"] == {
        "values": {"abs_rel": 0.5},
        "params": {"loss.a.weight": 2, "train.lr": 0.001},
    }


def test_an_empty_study_has_no_best(store):
    summary = summarise(store)
    assert summary.best is None
    assert summary.to_plain()["best"] is None
    with pytest.raises(StoreError, match=r"no COMPLETE trial to export \(2 WAITING\)"):
        best_configuration(store)


def test_the_export_is_the_study_file_with_values_for_ranges(writer, store):
    fill(writer)
    writer.record_test(3, {"abs_rel": 0.35})
    text = best_configuration(store)
    tree = yaml.safe_load(text)
    assert tree == parse_yaml(text.encode(), "best.yaml").tree
    params = store.trials()[3].params
    assert tree["loss"] == {"a": {"weight": params["loss.a.weight"]}, "b": {"weight": 1.0}}
    assert tree["train"]["lr"] == params["train.lr"]
    provenance = tree["provenance"]
    assert provenance["study"] == "s"
    assert provenance["trial"] == 3
    assert provenance["metrics"] == {"validation": {"abs_rel": 0.3, "rmse": 1.0}, "test": {"abs_rel": 0.35}}
    assert provenance["protocol"] == {"crop": "none"}
    assert provenance["versions"] == {"torch": "2"}


@pytest.mark.parametrize("value", [1e-5, 0.1 + 0.2, 1e22, 5e-324, 123456.0, 1.0])
def test_exported_numbers_are_the_same_to_the_last_bit_for_any_reader(value):
    from weightsearch.study.export import _Dumper

    text = yaml.dump({"x": value}, Dumper=_Dumper)
    for found in (yaml.safe_load(text)["x"], parse_yaml(text.encode(), "x").tree["x"]):
        assert isinstance(found, float)
        assert found == value


def test_the_table_has_a_row_a_trial(writer, store):
    fill(writer)
    writer.record_test(3, {"abs_rel": 0.35})
    table = trial_table(store)
    assert list(table["state"]) == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE", "FAIL", "RUNNING"]
    assert list(table["baseline"][:2]) == ["published", "without"]
    assert table["loss.a.weight"][1] == 0
    assert table["test.abs_rel"][3] == 0.35
    assert table["epochs"].tolist() == [1, 1, 1, 1, 0, 1]


TWO = {**STORED, "objectives": {"abs_rel": "minimize", "a1": "maximize"}}
BOTH = [(0.3, 0.9), (0.2, 0.6), (0.4, 0.8), (0.2, 0.7), (0.5, 0.9), (0.1, 0.2)]


def fill_two(writer: Writer, both: list[tuple[float, float]]) -> None:
    """Trials after those that are there, COMPLETE with abs_rel and a1; the first one may be a baseline."""
    for abs_rel, a1 in both:
        number = writer.ask(RandomSampler(seed=len(writer.store.trials())), SPACE).number
        writer.record(number, attempt(str(number)), replace(record(1), metrics={"abs_rel": abs_rel, "a1": a1}))
        writer.complete(number)


@pytest.fixture
def two(storage):
    """A study with two objectives, and the baseline `without` first."""
    with driving(storage, "two", TWO) as made:
        made.enqueue_baseline("without", {"train.lr": 1e-3})
        yield made


@pytest.fixture
def folder(tmp_path):
    """Where the front goes; the database is beside it."""
    (tmp_path / "exported").mkdir()
    return tmp_path / "exported"


def test_several_objectives_have_a_front(two):
    fill_two(two, BOTH)
    summary = summarise(two.store)
    assert [trial.number for trial in summary.front] == [0, 3, 5]
    assert summary.best is not None
    assert summary.best.number == 5


def test_of_equal_first_objectives_the_best_trial_is_on_the_front(two):
    fill_two(two, BOTH[:-1])
    summary = summarise(two.store)
    assert [trial.number for trial in summary.front] == [0, 3]
    assert summary.best is not None
    assert summary.best.number == 3


def files_in(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def numbers_in(folder: Path) -> list[int]:
    """The numbers of the trials in a front's table, in its order."""
    return [int(row["number"]) for row in csv.DictReader((folder / "pareto.csv").read_text().splitlines())]


def test_the_front_is_a_configuration_each_and_a_table(two, folder):
    fill_two(two, BOTH)
    table, count = write_front(two.store, folder)
    assert (table, count) == (folder / "pareto.csv", 3)
    found = files_in(folder)
    assert list(found) == ["pareto.csv", "trial_0000.yaml", "trial_0003.yaml", "trial_0005.yaml"]
    for number in (0, 3, 5):
        text = found[f"trial_{number:04d}.yaml"]
        assert text == configuration_of(two.store, summarise(two.store).trials[number])
        provenance = yaml.safe_load(text)["provenance"]
        assert (provenance["study"], provenance["trial"]) == ("two", number)
    rows = list(csv.DictReader(found["pareto.csv"].splitlines()))
    assert list(rows[0]) == ["number", "abs_rel", "a1", *SPACE, "baseline", "file", "study"]
    assert numbers_in(folder) == [5, 3, 0]  # by abs_rel, the best first
    assert [(float(row["abs_rel"]), float(row["a1"])) for row in rows] == [(0.1, 0.2), (0.2, 0.7), (0.3, 0.9)]
    assert [row["baseline"] for row in rows] == ["", "", "without"]
    assert [row["file"] for row in rows] == ["trial_0005.yaml", "trial_0003.yaml", "trial_0000.yaml"]
    params = two.store.trials()[5].params
    assert {name: float(rows[0][name]) for name in SPACE} == params
    assert float(rows[2]["loss.a.weight"]) == 0  # the baseline's, outside the space


def test_the_first_objective_may_be_one_to_maximise(storage, folder):
    config = {**STORED, "objectives": {"a1": "maximize", "abs_rel": "minimize"}, "baselines": {}}
    with driving(storage, "turned", config) as writer:
        fill_two(writer, BOTH)
        assert summarise(writer.store).best.number == 0
        write_front(writer.store, folder)
    assert numbers_in(folder) == [0, 3, 5]


def test_the_front_of_one_objective_is_the_best_alone(writer, store, folder):
    fill(writer)
    assert write_front(store, folder)[1] == 1
    assert list(files_in(folder)) == ["pareto.csv", "trial_0003.yaml"]
    assert files_in(folder)["trial_0003.yaml"] == best_configuration(store)


def test_a_second_export_of_the_front_replaces_the_first(two, folder):
    fill_two(two, BOTH[:4])
    (folder / "notes.txt").write_text("mine")
    (folder / "trial_3.yaml").write_text("mine too")
    write_front(two.store, folder)
    assert list(files_in(folder)) == ["notes.txt", "pareto.csv", "trial_0000.yaml", "trial_0003.yaml", "trial_3.yaml"]
    first = files_in(folder)
    write_front(two.store, folder)
    assert files_in(folder) == first
    fill_two(two, [(0.1, 0.8)])  # better than 3 in both, not than 0
    write_front(two.store, folder)
    names = ["notes.txt", "pareto.csv", "trial_0000.yaml", "trial_0004.yaml", "trial_3.yaml"]
    assert list(files_in(folder)) == names
    assert files_in(folder)["notes.txt"] == "mine"
    assert numbers_in(folder) == [4, 0]


FOREIGN = [
    ("trial_0000.yaml", "provenance: {study: other, trial: 0}"),
    ("trial_0099.yaml", "provenance: {study: other, trial: 99}"),
    ("trial_0000.yaml", "loss: {a: {weight: 1}}"),
    ("trial_12345.yaml", "not: [yaml"),
    ("trial_0000.yaml", ""),
    ("pareto.csv", "number,abs_rel,a1\n1,0.2,0.3\n"),
    ("pareto.csv", "number,study\n1,other\n"),
    ("pareto.csv", ""),
]


def test_the_front_overwrites_nothing_that_is_not_of_the_study(two, folder):
    fill_two(two, BOTH)
    for place, (name, content) in enumerate(FOREIGN):
        (folder / str(place)).mkdir()
        (folder / str(place) / name).write_text(content)
        with pytest.raises(WriteError, match=f"{name}: it is there and was not exported from the study 'two'"):
            write_front(two.store, folder / str(place))
        assert files_in(folder / str(place)) == {name: content}


def test_an_export_that_died_half_way_is_made_again(two, folder, monkeypatch):
    """After each file that it writes."""
    fill_two(two, BOTH[:4])
    write_front(two.store, folder)
    fill_two(two, [(0.1, 0.8), (0.05, 0.1)])

    class Died(Exception):
        pass

    for last in range(3):
        written = iter(range(10))

        def dying(path: Path, text: str, written=written, last=last) -> None:
            if next(written) > last:
                raise Died
            write_text(path, text)

        monkeypatch.setattr("weightsearch.study.export.write_text", dying)
        with pytest.raises(Died):
            write_front(two.store, folder)
    monkeypatch.undo()
    write_front(two.store, folder)
    assert list(files_in(folder)) == ["pareto.csv", "trial_0000.yaml", "trial_0004.yaml", "trial_0005.yaml"]


def test_there_is_no_front_without_a_complete_trial(two, folder):
    with pytest.raises(StoreError, match=r"the study 'two' has no COMPLETE trial to export \(1 WAITING\)"):
        write_front(two.store, folder / "new")
    assert files_in(folder) == {}


def test_a_front_goes_into_no_file(two, folder):
    fill_two(two, BOTH)
    (folder / "front").write_text("mine")
    with pytest.raises(WriteError, match="cannot write .*front: Not a directory"):
        write_front(two.store, folder / "front")


def test_with_the_front_the_best_alone_is_written_only_where_it_is_asked_for(two, storage, folder, monkeypatch):
    fill_two(two, BOTH)
    monkeypatch.chdir(folder)
    Path("study.yaml").write_text(yaml.dump({"name": "two", "storage": storage}))
    app(["export", "study.yaml", "--pareto", "front"], standalone_mode=False)
    assert sorted(path.name for path in folder.iterdir()) == ["front", "study.yaml"]
    assert numbers_in(folder / "front") == [5, 3, 0]
    app(["export", "study.yaml", "--pareto", "front", "-o", "5.yaml"], standalone_mode=False)
    assert Path("5.yaml").read_text() == Path("front/trial_0005.yaml").read_text()
    app(["export", "study.yaml"], standalone_mode=False)
    assert Path("best.yaml").read_text() == Path("5.yaml").read_text()


def test_what_a_pruner_sees_is_turned_so_that_lower_is_better(two, store):
    """A pruner sees all trials so far, in the order of their numbers, without the test split and other studies."""
    fill_two(two, BOTH[:2])
    two.record_test(1, {"abs_rel": 0.9, "a1": 0.1})
    number = two.ask(RandomSampler(seed=9), SPACE).number
    two.record(number, attempt("x"), replace(record(1), metrics={"a1": 0.5, "abs_rel": float("inf")}))
    two.record(number, attempt("x"), replace(record(2), metrics={"a1": 0.6, "abs_rel": 0.7}))
    two.fail(number, "why")
    assert two.store.losses_at(1) == {
        0: [0.3, -0.9],
        1: [0.2, -0.6],
        2: [pytest.approx(float("nan"), nan_ok=True), -0.5],
    }
    assert two.store.losses_at(2) == {2: [0.7, -0.6]}
    assert two.store.losses_at(3) == store.losses_at(1) == {}


def test_choices_of_lists_come_back_as_lists():
    space = {"data.size": Choices(([1, 2], [3, 4])), "x": FloatRange(0, 1)}
    assert decode(space, {"data.size": "[3, 4]", "x": 0.5}) == {"data.size": [3, 4], "x": 0.5}
