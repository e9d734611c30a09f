from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from optuna.samplers import RandomSampler

from tests.stores import SPACE, SPEC, attempt, driving, record
from weightsearch.errors import StoreError
from weightsearch.spec.document import parse_document
from weightsearch.study.export import best_configuration, trial_table
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
    assert tree == parse_document(text.encode(), "best.yaml").tree
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
    for found in (yaml.safe_load(text)["x"], parse_document(text.encode(), "x").tree["x"]):
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


def test_several_objectives_have_a_front(storage):
    spec = {**SPEC, "objectives": {"abs_rel": "minimize", "a1": "maximize"}, "baselines": {}}
    with driving(storage, "two", spec) as writer:
        for number, (abs_rel, a1) in enumerate([(0.3, 0.9), (0.2, 0.7), (0.4, 0.8), (0.2, 0.6)]):
            writer.ask(RandomSampler(seed=number), SPACE)
            both = replace(record(1), metrics={"abs_rel": abs_rel, "a1": a1})
            writer.record(number, attempt(str(number)), both)
            writer.complete(number)
        summary = summarise(writer.store)
    assert [trial.number for trial in summary.front] == [0, 1]
    assert summary.best is not None
    assert summary.best.number in (1, 3)


def test_choices_of_lists_come_back_as_lists():
    spec = {"tree": {"data": {"size": {"choices": [[1, 2], [3, 4]]}}, "x": {"low": 0, "high": 1}}}
    assert decode(spec, {"data.size": "[3, 4]", "x": 0.5}) == {"data.size": [3, 4], "x": 0.5}
