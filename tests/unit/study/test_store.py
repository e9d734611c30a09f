from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import optuna
import pytest

from tests.conftest import ROOT
from tests.stores import STORED, ask, attempt, driving, record, report, rows
from weightsearch.errors import StoreError
from weightsearch.records import EpochRecord
from weightsearch.study import tables
from weightsearch.study.database import Database
from weightsearch.study.store import StudyStore
from weightsearch.study.writer import Writer


def test_opening_again_finds_everything(writer, store, storage):
    number = ask(writer)
    report(writer, number, attempt(), record(1))
    again = StudyStore.create(storage, "s", ["minimize"], {**STORED, "baselines": {}})
    assert again.config == store.config  # the stored one wins
    assert again.uid == store.uid
    assert again.metrics(number) == {"abs_rel": 0.5, "rmse": 1.0}
    assert again.epoch_that_counts(number) == 1
    again.close()


def test_the_cpus_of_trials_without_a_gpu_are_known(writer, store, storage):
    with driving(storage, "other") as other:
        there = replace(attempt(), environment=replace(attempt().environment, cpu="of another study"))
        report(other, ask(other), there, record(1))
    for number, (cpu, device) in enumerate([("one", "cpu"), ("one", "cpu"), ("two", "cuda: H100"), ("", "cpu")]):
        ask(writer)
        where = replace(attempt().environment, cpu=cpu, device=device)
        report(writer, number, replace(attempt(), environment=where), record(1))
    assert store.cpus() == {"one"}


def test_gradient_norms_are_those_of_the_last_epoch_with_a_measurement_at_the_place(writer, store):
    def probed(epoch: int, **places: dict[str, float]) -> EpochRecord:
        rows = {f"{place}/{term}": norm for place, norms in places.items() for term, norm in norms.items()}
        return replace(record(epoch), sampled={"gradient": rows})

    number = ask(writer)
    first = probed(1, heads={"a": 1.0, "b": 2.0}, shared={"a": 3.0, "b": 4.0})
    report(writer, number, attempt(), first, probed(2, shared={"b": 5.0}), record(3))
    assert store.norms(number) == {"heads": (1, {"a": 1.0, "b": 2.0}), "shared": (2, {"b": 5.0})}


def test_two_studies_in_one_database_do_not_meet(writer, store, storage):
    with driving(storage, "other") as other:
        a, b = ask(writer), ask(other)
        assert (a, b) == (0, 0)
        report(writer, a, attempt("a"), record(1, 1.0))
        report(other, b, attempt("b"), record(1, 2.0))
        assert store.metrics(a)["abs_rel"] == 1.0
        assert other.store.metrics(b)["abs_rel"] == 2.0


def test_what_is_left_of_a_deleted_study_does_not_come_back(writer, store, storage):
    number = ask(writer)
    report(writer, number, attempt(), record(1))
    optuna.delete_study(study_name="s", storage=store.database.storage)
    with driving(storage) as fresh:
        assert rows(fresh.store, tables.epochs) == []
        assert report(fresh, ask(fresh), attempt(), record(1, 3.0)) == [True]
        assert len(rows(fresh.store, tables.studies)) == 1
        assert fresh.store.uid != store.uid


def test_a_study_that_came_to_nothing_can_be_removed(writer, store, storage):
    """Not while a driver has it, and not with a trial. Both databases."""
    store.remove_if_empty()
    assert len(rows(store, tables.studies)) == 1
    writer.lease.release()
    store.remove_if_empty()
    assert (rows(store, tables.studies), optuna.get_all_study_names(store.database.storage)) == ([], [])
    with driving(storage) as again:
        ask(again)
        again.lease.release()
        again.store.remove_if_empty()
        assert len(rows(again.store, tables.studies)) == 1


def test_a_new_study_must_not_be_there(store, storage):
    with pytest.raises(StoreError, match="the study 's' exists already; --set name=s resumes it"):
        StudyStore.create(storage, "s", ["minimize"], STORED, new=True)


def test_reading_changes_nothing(writer, storage):
    ask(writer)
    reader = StudyStore.open(storage, "s")
    assert [trial.number for trial in reader.trials()] == [0]
    with pytest.raises(StoreError, match="read-?only"):
        ask(Writer(reader, writer.lease))
    reader.close()


def test_a_study_is_made_whole_or_not_at_all(storage, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("weightsearch.study.store._sweep", dies)
    with pytest.raises(KeyboardInterrupt):
        StudyStore.create(storage, "s", ["minimize"], STORED)
    monkeypatch.undo()
    database = Database(storage, mode="write")
    assert optuna.get_all_study_names(database.storage) == []
    database.close()
    with driving(storage) as made:
        assert ask(made) == 0


def test_two_drivers_that_come_at_once_make_one_study(storage):
    """Tables, study and baselines: from nothing, in six processes."""
    code = (
        "import sys; from tests.stores import *\n"
        "with driving(sys.argv[1], join=True) as writer:\n"
        "    print(writer.store.uid, ask(writer), flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, storage]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": ROOT, "text": True}
    made = [subprocess.Popen(command, **options) for _ in range(6)]
    answers = [one.stdout.readline().split() for one in made]
    for one in made:
        one.communicate()
    assert [one.returncode for one in made] == [0] * 6
    assert len({uid for uid, _ in answers}) == 1
    assert sorted(number for _, number in answers) == list("012345")


def test_a_study_that_is_not_there_is_named_with_those_that_are(store, storage):
    with pytest.raises(StoreError, match=r"there is no study 'nothing'; studies there: s"):
        StudyStore.open(storage, "nothing")


def test_a_study_of_another_program_is_left_alone(storage):
    database = Database(storage, mode="create")
    optuna.create_study(storage=database.storage, study_name="theirs").ask()
    database.close()
    with pytest.raises(StoreError, match="'theirs' was not made by weightsearch"):
        StudyStore.create(storage, "theirs", ["minimize"], STORED)


def test_an_empty_study_of_another_kind_is_left_alone(storage):
    database = Database(storage, mode="create")
    optuna.create_study(storage=database.storage, study_name="s", direction="minimize").set_user_attr("whose", "theirs")
    optuna.create_study(storage=database.storage, study_name="t", direction="maximize")
    for name in ("s", "t"):
        with pytest.raises(StoreError, match="was not made by weightsearch"):
            StudyStore.create(storage, name, ["minimize"], STORED)
    assert len(optuna.get_all_study_names(database.storage)) == 2
    database.close()
