from __future__ import annotations

import sqlite3

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from weightsearch.errors import StoreError
from weightsearch.records import Environment, EpochRecord, TermRecord
from weightsearch.study import tables
from weightsearch.study.database import Database
from weightsearch.study.store import Attempt, StudyStore

SPACE = {"loss.a.weight": FloatDistribution(0.1, 10, log=True), "train.lr": FloatDistribution(1e-4, 1e-2, log=True)}
SPEC = {
    "tree": {
        "name": "s",
        "loss": {"a": {"weight": {"low": 0.1, "high": 10, "log": True}}, "b": {"weight": 1.0}},
        "train": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}},
    },
    "objectives": {"abs_rel": "minimize"},
    "baselines": {
        "published": {"loss.a.weight": 2, "train.lr": 1e-3},
        "without": {"loss.a.weight": 0, "train.lr": 1e-3},
    },
}
HERE = Environment("host", "cpu: x", 1, "abc", {"torch": "2"})


def attempt(name: str = "one", resumed_from: int = 0) -> Attempt:
    return Attempt(name, resumed_from, {"crop": "none"}, HERE)


def record(epoch: int, value: float = 0.5) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        seconds=1.5,
        steps=10,
        train_loss=2.0,
        lr=1e-3,
        terms={"a": TermRecord(0.25, 4.0, 0.5, 0.1), "b": TermRecord(1.0, 1.0, 0.5, 0.2)},
        metrics={"abs_rel": value / epoch, "rmse": 1.0 / epoch},
    )


@pytest.fixture
def store(storage):
    made = StudyStore.create(storage, "s", ["minimize"], SPEC)
    yield made
    made.close()


def ask(store: StudyStore, seed: int = 0) -> int:
    return store.ask(RandomSampler(seed=seed), SPACE).number


def rows(store: StudyStore, table: sa.Table) -> list[dict]:
    with store.database.transaction() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(table))]


def test_a_report_is_in_optunas_tables_and_in_ours(store):
    number = ask(store)
    assert [r.epoch for r in store.record(number, attempt(), [record(1)])] == [1]
    store.record(number, attempt(), [record(2)])
    trial = store.trials()[number]
    assert trial.intermediate_values == {1: 0.5, 2: 0.25}
    assert [row["epoch"] for row in rows(store, tables.epochs)] == [1, 2]
    terms = {(row["epoch"], row["term"]): row for row in rows(store, tables.terms)}
    assert len(terms) == 4
    assert terms[(2, "a")]["value"] == 0.25
    assert terms[(2, "a")]["weight"] == 4.0
    assert terms[(2, "a")]["contribution"] == 0.5
    assert store.metrics(number) == {"abs_rel": 0.25, "rmse": 0.5}
    protocol, environment = store.protocol_and_environment(number)
    assert protocol == {"crop": "none"}
    assert environment["versions"] == {"torch": "2"}


def test_a_report_is_one_transaction(store):
    """If any part of it cannot be written, none of it is."""
    number = ask(store)
    store.record(number, attempt(), [record(1)])
    trial_id = store.trials()[number]._trial_id
    taken = {"trial_id": trial_id, "epoch": 2, "split": "validation", "metric": "rmse", "value": 1.0}
    with store.database.transaction() as connection:
        connection.execute(sa.insert(tables.metrics).values(**taken))
    with pytest.raises(StoreError):
        store.record(number, attempt(), [record(2)])
    assert store.trials()[number].intermediate_values == {1: 0.5}
    assert len(rows(store, tables.epochs)) == 1
    assert len(rows(store, tables.terms)) == 2


def test_a_repeated_report_changes_nothing(store):
    number = ask(store)
    store.record(number, attempt(), [record(1), record(2)])
    before = [rows(store, table) for table in tables.PER_TRIAL]
    assert store.record(number, attempt(), [record(1, 99), record(2, 99)]) == []
    assert [rows(store, table) for table in tables.PER_TRIAL] == before
    assert store.trials()[number].intermediate_values == {1: 0.5, 2: 0.25}


def test_a_new_attempt_keeps_what_it_took_over_and_no_more(store):
    number = ask(store)
    store.record(number, attempt("one"), [record(1), record(2), record(3)])
    new = store.record(number, attempt("two", resumed_from=1), [record(1), record(2, 8)])
    assert [r.epoch for r in new] == [2]
    assert store.trials()[number].intermediate_values == {1: 0.5, 2: 4.0}
    assert [row["epoch"] for row in rows(store, tables.epochs)] == [1, 2]
    (row,) = rows(store, tables.trials)
    assert (row["attempt"], row["attempts"]) == ("two", 2)


def test_outcomes(store):
    done, stopped, failed = (ask(store, seed) for seed in range(3))
    store.record(done, attempt("a"), [record(1), record(2)])
    store.complete(done)
    store.record(stopped, attempt("b"), [record(1)])
    store.prune(stopped)
    store.fail(failed, "the loss term 'a' is not finite")
    trials = store.trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert trials[done].value == 0.25
    assert trials[failed].user_attrs["reason"] == "the loss term 'a' is not finite"
    assert trials[failed].value is None


def test_a_trial_put_back_is_asked_for_again_with_its_values(store):
    number = ask(store, 1)
    before = store.trials()[number].params
    store.put_back(number)
    assert store.trials()[number].state == TrialState.WAITING
    again = store.ask(RandomSampler(seed=77), SPACE)
    assert (again.number, again.params) == (number, before)
    assert again.state == TrialState.RUNNING


def test_baselines_keep_their_values_and_nothing_else_is_suggested_for_them(store):
    store.enqueue_baseline("published", {"loss.a.weight": 2, "train.lr": 1e-3})
    store.enqueue_baseline("without", {"train.lr": 1e-3})
    first, second = (store.ask(RandomSampler(seed=0), SPACE) for _ in range(2))
    assert first.params == {"loss.a.weight": 2, "train.lr": 1e-3}
    assert second.params == {"train.lr": 1e-3}
    assert [trial.user_attrs["baseline"] for trial in (first, second)] == ["published", "without"]


def test_the_test_metrics_stand_beside_the_validations(store):
    number = ask(store)
    store.record(number, attempt(), [record(1), record(2)])
    store.complete(number)
    for _ in range(2):
        store.record_test(number, {"abs_rel": 0.7})
    assert store.metrics(number, "test") == {"abs_rel": 0.7}
    assert store.metrics(number) == {"abs_rel": 0.25, "rmse": 0.5}


def test_opening_again_finds_everything(store, storage):
    number = ask(store)
    store.record(number, attempt(), [record(1)])
    again = StudyStore.create(storage, "s", ["minimize"], {**SPEC, "baselines": {}})
    assert again.spec == store.spec  # the stored one wins
    assert again.uid == store.uid
    assert again.metrics(number) == {"abs_rel": 0.5, "rmse": 1.0}
    assert again.last_epoch(number) == 1
    again.close()


def test_two_studies_in_one_database_do_not_meet(store, storage):
    other = StudyStore.create(storage, "other", ["minimize"], SPEC)
    a, b = ask(store), ask(other)
    assert (a, b) == (0, 0)
    store.record(a, attempt("a"), [record(1, 1.0)])
    other.record(b, attempt("b"), [record(1, 2.0)])
    assert store.metrics(a)["abs_rel"] == 1.0
    assert other.metrics(b)["abs_rel"] == 2.0
    other.close()


def test_what_is_left_of_a_deleted_study_does_not_come_back(store, storage):
    number = ask(store)
    store.record(number, attempt(), [record(1)])
    optuna.delete_study(study_name="s", storage=store.database.storage)
    fresh = StudyStore.create(storage, "s", ["minimize"], SPEC)
    assert rows(fresh, tables.epochs) == []
    assert fresh.record(ask(fresh), attempt(), [record(1, 3.0)])[0].epoch == 1
    assert len(rows(fresh, tables.studies)) == 1
    assert fresh.uid != store.uid
    fresh.close()


def test_a_study_that_is_not_there_is_named_with_those_that_are(store, storage):
    with pytest.raises(StoreError, match=r"there is no study 'nothing'; studies there: s"):
        StudyStore.open(storage, "nothing")


def test_a_study_of_another_program_is_left_alone(storage):
    database = Database(storage, create=True)
    optuna.create_study(storage=database.storage, study_name="theirs").ask()
    database.close()
    with pytest.raises(StoreError, match="'theirs' was not made by weightsearch"):
        StudyStore.create(storage, "theirs", ["minimize"], SPEC)


def test_an_empty_study_of_another_kind_is_left_alone(storage):
    database = Database(storage, create=True)
    optuna.create_study(storage=database.storage, study_name="s", direction="minimize").set_user_attr("whose", "theirs")
    optuna.create_study(storage=database.storage, study_name="t", direction="maximize")
    for name in ("s", "t"):
        with pytest.raises(StoreError, match="was not made by weightsearch"):
            StudyStore.create(storage, name, ["minimize"], SPEC)
    assert len(optuna.get_all_study_names(database.storage)) == 2
    database.close()


def test_a_study_whose_making_was_cut_short_is_made_again(storage):
    database = Database(storage, create=True)
    optuna.create_study(storage=database.storage, study_name="s", direction="minimize")
    database.close()
    store = StudyStore.create(storage, "s", ["minimize"], SPEC)
    assert ask(store) == 0
    assert store.spec == {**SPEC, "uid": store.uid}
    store.close()


def test_sqlite_waits_and_writes_ahead(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.db", create=True)
    with database.transaction() as connection:
        assert connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(sa.text("PRAGMA busy_timeout")) == 30_000
    database.close()


class TestDatabaseErrors:
    def open(self, url: str, *, create: bool = True) -> str:
        with pytest.raises(StoreError) as error:
            Database(url, create=create)
        text = str(error.value)
        assert "\n" not in text
        return text

    def test_not_a_database(self, tmp_path):
        (tmp_path / "x.db").write_text("this is no database, whatever its name says" * 100)
        assert "file is not a database" in self.open(f"sqlite:///{tmp_path}/x.db")

    def test_no_such_folder(self, tmp_path):
        assert "unable to open database file" in self.open(f"sqlite:///{tmp_path}/none/x.db")

    def test_nothing_to_read_yet(self, tmp_path):
        assert "there is no study database" in self.open(f"sqlite:///{tmp_path}/x.db", create=False)
        assert not (tmp_path / "x.db").exists()

    def test_in_memory(self):
        assert "would be lost" in self.open("sqlite://")

    def test_newer_tables(self, tmp_path):
        Database(f"sqlite:///{tmp_path}/x.db", create=True).close()
        with sqlite3.connect(tmp_path / "x.db") as connection:
            connection.execute("UPDATE weightsearch_schema SET version = 99")
        connection.close()
        assert "its tables have version 99" in self.open(f"sqlite:///{tmp_path}/x.db")

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://user:s3cret@127.0.0.1:1/none?connect_timeout=2",
            "postgresql://127.0.0.1:1/none?password=s3cret&connect_timeout=2",
            "postgresql://db:s3cret/none",
        ],
    )
    def test_a_password_is_never_shown(self, url):
        text = self.open(url)
        assert "s3cret" not in text
        assert "postgresql" in text

    def test_somebody_elses_database_is_not_written_to_by_looking(self, tmp_path):
        with sqlite3.connect(tmp_path / "x.db") as connection:
            connection.execute("CREATE TABLE theirs (x)")
        connection.close()
        assert "there are no studies of weightsearch" in self.open(f"sqlite:///{tmp_path}/x.db", create=False)
        with sqlite3.connect(tmp_path / "x.db") as connection:
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
        connection.close()
