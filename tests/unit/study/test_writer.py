from __future__ import annotations

import math
from dataclasses import replace

import optuna
import pytest
import sqlalchemy as sa
from optuna.pruners import SuccessiveHalvingPruner
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from tests.stores import SPACE, ask, attempt, record, report, rows
from weightsearch.errors import StoreError
from weightsearch.records import TERM_GROUPS, EpochRecord
from weightsearch.study import tables
from weightsearch.study.frames import Frames
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import summarise


def test_a_report_is_in_optunas_tables_and_in_ours(writer, store):
    number = ask(writer)
    assert report(writer, number, attempt(), record(1)) == [True]
    report(writer, number, attempt(), record(2))
    trial = store.trials()[number]
    assert trial.intermediate_values == {1: 0.5, 2: 0.25}
    assert [row["epoch"] for row in rows(store, tables.epochs)] == [1, 2]
    stored = {(row["epoch"], row["group"], row["name"]): row["value"] for row in rows(store, tables.measurements)}
    assert len(stored) == 2 * (4 * 2 + 2)  # four groups of two terms, two metrics
    assert [stored[2, group, "a"] for group in TERM_GROUPS] == [0.25, 4.0, 0.5, 0.1]
    assert store.metrics(number) == {"abs_rel": 0.25, "rmse": 0.5}
    protocol, environment = store.protocol_and_environment(number)
    assert protocol == {"crop": "none"}
    assert environment["versions"] == {"torch": "2"}


def test_a_report_is_one_transaction(writer, store):
    """If any part of it cannot be written, none of it is."""
    number = ask(writer)
    report(writer, number, attempt(), record(1))
    trial_id = store.trials()[number]._trial_id
    taken = {"trial_id": trial_id, "epoch": 2, "group": "metric", "name": "validation/rmse", "value": 1.0}
    with store.database.writing() as connection:
        connection.execute(sa.insert(tables.measurements).values(**taken))
    with pytest.raises(StoreError):
        report(writer, number, attempt(), record(2))
    assert store.trials()[number].intermediate_values == {1: 0.5}
    assert len(rows(store, tables.epochs)) == 1
    assert {row["epoch"] for row in rows(store, tables.measurements) if row["group"] == "weight"} == {1}


def test_a_repeated_report_changes_nothing(writer, store):
    number = ask(writer)
    report(writer, number, attempt(), record(1), record(2))
    before = [rows(store, table) for table in tables.PER_TRIAL]
    assert report(writer, number, attempt(), record(1, 99), record(2, 99)) == [False, False]
    assert [rows(store, table) for table in tables.PER_TRIAL] == before
    assert store.trials()[number].intermediate_values == {1: 0.5, 2: 0.25}


def test_a_new_attempt_keeps_what_it_took_over_and_no_more(writer, store):
    number = ask(writer)
    report(writer, number, attempt("one"), record(1), record(2), record(3))
    two = attempt("two", resumed_from=1)
    assert [writer.record(number, two, one) for one in (record(1), record(2, 8))] == [(False, 2), (True, 0)]
    assert store.trials()[number].intermediate_values == {1: 0.5, 2: 4.0}
    assert [row["epoch"] for row in rows(store, tables.epochs)] == [1, 2]
    (row,) = rows(store, tables.trials)
    assert (row["attempt"], row["attempts"]) == ("two", 2)


def test_a_rung_of_a_removed_epoch_is_removed_with_it(writer, store):
    """Successive halving notes the value with which a trial came to a rung; other trials are compared with it."""
    pruner = SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    number = ask(writer)
    for epoch in (1, 2):
        report(writer, number, attempt(), record(epoch))
        writer.should_prune(number, pruner)
    assert store.trial(number).system_attrs == {"completed_rung_0": 0.5, "completed_rung_1": 0.25}
    report(writer, number, attempt("two", resumed_from=1), record(2, 0.9))
    assert store.trial(number).system_attrs == {"completed_rung_0": 0.5}
    assert store.trial(number).intermediate_values == {1: 0.5, 2: 0.45}


class Dies(Exception):
    pass


@pytest.mark.parametrize("step", range(1, 9))
def test_an_act_that_dies_half_way_leaves_nothing(writer, store, step):
    """Whatever was written in it, by Optuna or by us, is gone, and the same act succeeds the next time."""
    number = ask(writer)
    report(writer, number, attempt(), record(1))
    before = (
        [(t.number, t.state, t.params, t.system_attrs, t.intermediate_values) for t in store.trials()],
        [rows(store, table) for table in tables.PER_TRIAL],
    )

    def everything(die_at: int) -> int:
        steps = iter(range(1, 100))

        def step_done() -> None:
            if next(steps) == die_at:
                raise Dies

        with writer.transaction():
            writer.record(number, attempt(), record(2))
            step_done()
            writer.should_prune(number, SuccessiveHalvingPruner(min_resource=1, reduction_factor=2))
            step_done()
            writer.prune(number)
            step_done()
            writer.enqueue_baseline("published", {"loss.a.weight": 2, "train.lr": 1e-3})
            step_done()
            other = writer.ask(RandomSampler(seed=1), SPACE).number
            step_done()
            another = writer.ask(RandomSampler(seed=2), SPACE).number
            step_done()
            writer.put_back(other)
            step_done()
            writer.fail(another, "why")
            step_done()
        return another

    with pytest.raises(Dies):
        everything(step)
    assert before == (
        [(t.number, t.state, t.params, t.system_attrs, t.intermediate_values) for t in store.trials()],
        [rows(store, table) for table in tables.PER_TRIAL],
    )
    assert everything(0) == 2
    found = [trial.state for trial in store.trials()]
    assert found == [TrialState.PRUNED, TrialState.WAITING, TrialState.FAIL]


def test_trials_may_be_deleted_under_a_driver(writer, store):
    ask(writer)
    optuna.delete_study(study_name="s", storage=store.database.storage)
    with pytest.raises(StoreError, match="the study 's' was deleted"):
        ask(writer)


def test_an_epoch_that_the_checkpoint_has_otherwise_is_replaced_with_all_that_follows(writer, store):
    """The checkpoint vanished, the first epoch was trained again and its report was lost: on a GPU it is another one."""
    number = ask(writer)
    report(writer, number, attempt("one"), record(1), record(2))
    other = replace(record(1, 3.0), seconds=9.0)
    assert writer.record(number, attempt("three", resumed_from=1), other) == (True, 2)
    assert store.trials()[number].intermediate_values == {1: 3.0}
    assert [row["seconds"] for row in rows(store, tables.epochs)] == [9.0]


def test_outcomes(writer, store):
    done, stopped, failed = (ask(writer, seed) for seed in range(3))
    report(writer, done, attempt("a"), record(1), record(2))
    writer.complete(done)
    report(writer, stopped, attempt("b"), record(1))
    writer.prune(stopped)
    writer.fail(failed, "the loss term 'a' is not finite")
    trials = store.trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert trials[done].value == 0.25
    assert trials[failed].user_attrs["reason"] == "the loss term 'a' is not finite"
    assert trials[failed].value is None


def test_a_trial_put_back_is_asked_for_again_with_its_values(writer, store):
    number = ask(writer, 1)
    before = store.trials()[number].params
    writer.put_back(number)
    assert store.trials()[number].state == TrialState.WAITING
    again = writer.ask(RandomSampler(seed=77), SPACE)
    assert (again.number, again.params) == (number, before)
    assert again.state == TrialState.RUNNING


def test_baselines_keep_their_values_and_nothing_else_is_suggested_for_them(writer, store):
    writer.enqueue_baseline("published", {"loss.a.weight": 2, "train.lr": 1e-3})
    writer.enqueue_baseline("without", {"train.lr": 1e-3})
    first, second = (writer.ask(RandomSampler(seed=0), SPACE) for _ in range(2))
    assert first.params == {"loss.a.weight": 2, "train.lr": 1e-3}
    assert second.params == {"train.lr": 1e-3}
    assert [trial.user_attrs["baseline"] for trial in (first, second)] == ["published", "without"]


def test_the_test_metrics_stand_beside_the_validations(writer, store):
    number = ask(writer)
    report(writer, number, attempt(), record(1), record(2))
    writer.complete(number)
    for _ in range(2):
        writer.record_test(number, {"abs_rel": 0.7})
    assert store.metrics(number, "test") == {"abs_rel": 0.7}
    assert store.metrics(number) == {"abs_rel": 0.25, "rmse": 0.5}


def probed(epoch: int) -> EpochRecord:
    rows = {
        "probe": {"probes": 3.0, "seconds": 0.25},
        "gradient": {"shared/a": 2.0, "shared/b": math.nan},
        "cosine": {"shared/a/b": -0.5},
    }
    return replace(record(epoch), sampled=rows, problem="no memory")


def sampled(store: StudyStore) -> dict[tuple[int, str], float | None]:
    return {
        (row["epoch"], f"{row['group']}/{row['name']}"): row["value"]
        for row in rows(store, tables.measurements)
        if row["group"] in ("probe", "gradient", "cosine")
    }


def test_probes_are_stored_with_their_epoch_and_removed_with_it(writer, store):
    number = ask(writer)
    report(writer, number, attempt("one"), record(1), probed(2), probed(3))
    assert [row["problem"] for row in rows(store, tables.epochs)] == [None, "no memory", "no memory"]
    mine = {"probe/probes": 3.0, "probe/seconds": 0.25, "gradient/shared/a": 2.0, "gradient/shared/b": None}
    mine |= {"cosine/shared/a/b": -0.5}
    assert sampled(store) == {(epoch, name): value for epoch in (2, 3) for name, value in mine.items()}
    writer.record(number, attempt("two", resumed_from=2), record(3))
    assert sampled(store) == {(2, name): value for name, value in mine.items()}
    assert [row["problem"] for row in rows(store, tables.epochs)] == [None, "no memory", None]


def test_what_was_trained_anew_stands_with_its_trial_and_can_be_stored_again(writer, store):
    number = ask(writer)
    report(writer, number, attempt(), record(1))
    store.confirm(number, 5, {"test": {"abs_rel": 0.5, "rmse": math.inf}})
    store.confirm(number, 5, {"test": {"abs_rel": 0.25}, "validation": {"abs_rel": 0.2}})
    store.confirm(number, 6, {"test": {"abs_rel": 0.3}})
    found = {(row["seed"], row["split"]): row["value"] for row in rows(store, tables.confirmations)}
    assert found == {(5, "test"): 0.25, (5, "validation"): 0.2, (6, "test"): 0.3}
    frames = Frames.read(store, summarise(store))
    assert list(frames.confirmations["number"]) == [number] * 3
    assert list(frames.of("epochs", number)["epoch"]) == [1]
