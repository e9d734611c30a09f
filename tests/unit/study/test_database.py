from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa

from tests import older_tables
from tests.conftest import ROOT
from tests.stores import STORED, ask, attempt, driving, record, report
from tests.stores import rows as stored_rows
from weightsearch.errors import StoreError, StoreUnavailable
from weightsearch.study import database as databases
from weightsearch.study import migrations, tables
from weightsearch.study.database import Database, Mode
from weightsearch.study.frames import Frames
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import summarise


def test_sqlite_waits_and_writes_ahead(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.db", mode="create")
    with database.reading() as connection:
        assert connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(sa.text("PRAGMA busy_timeout")) == 30_000
    database.close()


def objects(path: Path) -> set[tuple[str, str, str]]:
    """Type, name and table of what an SQLite file has."""
    connection = sqlite3.connect(path)
    found = set(connection.execute("SELECT type, name, tbl_name FROM sqlite_master"))
    connection.close()
    return found


class TestDatabaseErrors:
    def open(self, url: str, mode: Mode = "create") -> str:
        with pytest.raises(StoreError) as error:
            Database(url, mode=mode)
        text = str(error.value)
        assert "\n" not in text
        return text

    def test_not_a_database(self, tmp_path):
        (tmp_path / "x.db").write_text("this is no database, whatever its name says" * 100)
        said = self.open(f"sqlite:///{tmp_path}/x.db")
        assert "file is not a database; restore a copy, or save what can be saved with: sqlite3" in said

    def test_no_such_folder(self, tmp_path):
        assert "unable to open database file" in self.open(f"sqlite:///{tmp_path}/none/x.db")

    def test_nothing_to_read_yet(self, tmp_path):
        assert "there is no study database" in self.open(f"sqlite:///{tmp_path}/x.db", "read")
        assert not (tmp_path / "x.db").exists()

    def test_a_path_is_shown_without_detours(self, tmp_path):
        assert f"database {tmp_path}/x.db;" in self.open(f"sqlite:///{tmp_path}/elsewhere/../x.db", "read")
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "x.db").write_text("no database" * 100)
        assert self.open(f"sqlite:///{tmp_path}/elsewhere/../x.db").startswith(f"sqlite:///{tmp_path}/x.db: ")

    def test_in_memory(self):
        assert "would be lost" in self.open("sqlite://")

    def test_newer_tables(self, tmp_path):
        Database(f"sqlite:///{tmp_path}/x.db", mode="create").close()
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
        assert "there are no studies of weightsearch" in self.open(f"sqlite:///{tmp_path}/x.db", "read")
        with sqlite3.connect(tmp_path / "x.db") as connection:
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
        connection.close()

    def test_somebody_elses_database_is_not_made_ours(self, tmp_path):
        with sqlite3.connect(tmp_path / "x.db") as connection:
            connection.execute("CREATE TABLE theirs (x)")
        connection.close()
        assert "another program's database (its tables: theirs, ...)" in self.open(f"sqlite:///{tmp_path}/x.db")
        with sqlite3.connect(tmp_path / "x.db") as connection:
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
        connection.close()

    def test_optunas_tables_are_there_all_or_none(self, tmp_path):
        """Whenever it is killed while it makes them; and they are what Optuna makes."""
        url = f"sqlite:///{tmp_path}/x.db"

        def killed(*words):
            if "CREATE TABLE trial_params" in words[2]:
                raise KeyboardInterrupt

        sa.event.listen(sa.Engine, "before_cursor_execute", killed)
        try:
            with pytest.raises(KeyboardInterrupt):
                Database(url, mode="create")
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", killed)
        assert objects(tmp_path / "x.db") == set()
        Database(url, mode="create").close()
        optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/whole.db").engine.dispose()
        ours = {one for one in objects(tmp_path / "x.db") if "weightsearch" not in one[2]}
        assert ours == objects(tmp_path / "whole.db")
        assert len(ours) > 13

    def test_a_damaged_page(self, tmp_path):
        """Found when the file is opened, before anything is written to it; what is in the other pages can be saved."""
        path = tmp_path / "x.db"
        with driving(f"sqlite:///{path}") as writer:
            for _ in range(40):
                report(writer, ask(writer), attempt(), record(1), record(2))
        data = bytearray(path.read_bytes())
        assert len(data) > 20 * 4096
        data[12 * 4096 : 13 * 4096] = b"\x55" * 4096
        path.write_bytes(data)
        for mode in ("read", "create"):
            text = self.open(f"sqlite:///{path}", mode)
            assert "damaged" in text or "malformed" in text
            assert ".recover" in text
        assert path.read_bytes() == data

    def test_a_file_cut_short(self, tmp_path):
        path = tmp_path / "x.db"
        with driving(f"sqlite:///{path}") as writer:
            ask(writer)
        path.write_bytes(path.read_bytes()[: 10 * 4096 + 100])
        assert ".recover" in self.open(f"sqlite:///{path}", "read")

    def test_locked(self, tmp_path, monkeypatch):
        monkeypatch.setattr(databases, "BUSY_SECONDS", 0.2)
        path = tmp_path / "x.db"
        Database(f"sqlite:///{path}", mode="create").close()
        holder = sqlite3.connect(path)
        holder.execute("BEGIN EXCLUSIVE")
        assert "database is locked; another program has held it for 0.2 s" in self.open(f"sqlite:///{path}")
        holder.close()

    def test_a_full_disk(self, tmp_path):
        """SQLite's own answer when no page can be added: one line, and what was stored stays readable."""
        url = f"sqlite:///{tmp_path}/x.db"
        with driving(url) as writer:
            number = ask(writer)
            report(writer, number, attempt(), record(1))
            engine = writer.store.database.engine

            @sa.event.listens_for(engine, "connect")
            def full(connection, _):
                pages = connection.execute("PRAGMA page_count").fetchone()[0]
                connection.execute(f"PRAGMA max_page_count={pages}")

            engine.dispose()
            many = [record(epoch) for epoch in range(2, 2000)]
            with pytest.raises(StoreError, match="database or disk is full; what was stored before is safe") as error:
                report(writer, number, attempt(), *many)
            assert not isinstance(error.value, StoreUnavailable)
            sa.event.remove(engine, "connect", full)
            engine.dispose()
            last = writer.store.epoch_that_counts(number)
            assert last >= 1
            assert list(writer.store.trials()[0].intermediate_values) == list(range(1, last + 1))
            report(writer, number, attempt(), record(last + 1))  # there is space again


def test_a_file_that_is_removed_or_replaced_is_noticed_by_the_next_write(tmp_path):
    path = tmp_path / "x.db"
    with driving(f"sqlite:///{path}") as writer:
        number = ask(writer)
        path.unlink()
        with pytest.raises(StoreError, match="removed or replaced while it was in use"):
            report(writer, number, attempt(), record(1))
        Database(f"sqlite:///{path}", mode="create").close()
        with pytest.raises(StoreError, match="removed or replaced"):
            writer.lease.renew()


@pytest.mark.parametrize("storage", ["postgresql"], indirect=True)
def test_a_driver_that_stops_in_a_transaction_does_not_hold_its_locks_for_ever(storage):
    database = Database(storage, mode="create")
    with database.reading() as connection:
        found = {
            name: connection.scalar(sa.text(f"SHOW {name}"))
            for name in ("lock_timeout", "idle_in_transaction_session_timeout")
        }
    database.close()
    assert found == {"lock_timeout": "30s", "idle_in_transaction_session_timeout": "1min"}


def test_a_plug_ins_error_is_not_called_the_databases(tmp_path):
    def raises(error: Exception) -> None:
        with database.writing():
            raise error

    database = Database(f"sqlite:///{tmp_path}/x.db", mode="create")
    for error in (ImportError("theirs"), RuntimeError("CUDA out of memory")):
        with pytest.raises(type(error), match=str(error)):
            raises(error)
    database.close()


def test_a_file_on_a_read_only_medium_can_be_read(tmp_path, monkeypatch):
    """Neither the file nor its folder can be written; permissions do not bind every user, so SQLite is asked."""
    url = f"sqlite:///{tmp_path}/a b%20?c#d.db"
    with driving(url.replace("?", "%3F")) as writer:
        report(writer, ask(writer), attempt(), record(1))
    assert not list(tmp_path.glob("*-wal"))
    monkeypatch.setattr(migrations, "can_be_written", lambda _: False)
    reader = StudyStore.open(url.replace("?", "%3F"), "s")
    assert reader.trials()[0].intermediate_values == {1: 0.5}
    reader.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a b ?c#d.db"]


LACKING = {
    1: (tables.drivers, tables.assignments, tables.pictures, tables.confirmations),
    2: (tables.pictures, tables.confirmations),
    3: (),
}
KEY = {"trial_id": 1, "epoch": 1}
OLD_METRICS = [{**KEY, "split": "validation", "metric": "abs_rel", "value": 0.5}]


@pytest.mark.parametrize("version", LACKING)
def test_older_tables_are_brought_up_to_date(storage, version):
    """Version 1 had neither drivers nor assignments, version 2 no probes, version 3 no rebalancing; a RUNNING trial is
    taken up."""
    with driving(storage) as writer:
        number = ask(writer)
        report(writer, number, attempt(), record(1))
        writer.put_back(number)
        params = writer.store.trial(number).params
        with writer.store.database.writing() as connection:
            for table in (tables.drivers, tables.assignments):  # of a driver that is gone
                connection.execute(sa.delete(table))
            running = sa.text("UPDATE trials SET state = 'RUNNING'")
            connection.execute(running)
        engine = writer.store.database.engine
        writer.store.close()
        for table in LACKING[version]:
            table.drop(engine)
        older_tables.turn_into(engine, version, {older_tables.metrics: OLD_METRICS})
        engine.dispose()
        reader = StudyStore.open(storage, "s")  # as `show` does
        assert reader.epoch_that_counts(number) == 1
        assert reader.metrics(number) == {"abs_rel": 0.5}
        with reader.database.reading() as connection:
            assert connection.scalar(sa.select(tables.schema.c.version)) == migrations.VERSION
        reader.close()
        with driving(storage) as later:
            assert later.store.trial(number).state.name == "WAITING"
            assert ask(later) == number
            assert later.store.trial(number).params == params
            assert later.store.pictures(number) == []
            assert Frames.read(later.store, summarise(later.store)).rows("rebalancing", "quantity").empty


def older(storage: str, version: int, rows: dict, config: dict = STORED) -> StudyStore:
    """A study with one trial of one epoch whose database was of an older version."""
    with driving(storage, config=config) as writer:
        report(writer, ask(writer), attempt(), record(1))
        older_tables.turn_into(writer.store.database.engine, version, rows)
    return StudyStore.open(storage, "s")


@pytest.mark.parametrize(("model", "places"), [("co_training", {"shared"}), ("encoder_decoder", {"heads", "shared"})])
def test_version_5_forgets_gradients_at_heads_of_several_units(storage, model, places):
    data = {**STORED["tree"]["data"], "neighbours": [-1, 1]}
    config = {**STORED, "tree": {**STORED["tree"], "data": data, "model": {"name": model}}}
    norms = [{**KEY, "place": place, "term": "a", "norm": 1.0} for place in ("heads", "shared")]
    cosines = [{**KEY, "place": place, "term": "a", "other": "b", "cosine": 0.5} for place in ("heads", "shared")]
    reader = older(storage, 4, {older_tables.gradients: norms, older_tables.conflicts: cosines}, config)
    frames = Frames.read(reader, summarise(reader))
    assert set(frames.rows("gradient", "place", "term")["place"]) == places
    assert set(frames.rows("cosine", "place", "term", "other")["place"]) == places
    reader.close()


def test_version_6_has_every_measurement_of_version_5(storage):
    terms = [
        {**KEY, "term": "a", "value": 0.25, "weight": 4.0, "contribution": 0.5, "gradient": 0.1},
        {**KEY, "term": "b", "value": None, "weight": 1.0, "contribution": 0.5, "gradient": 0.2},
    ]
    metrics = [
        *OLD_METRICS,
        {**KEY, "split": "test", "metric": "abs_rel", "value": 0.75},
        {**KEY, "split": "without_pixels", "metric": "b", "value": 10.0},
    ]
    balance = {**dict.fromkeys(("kept", "flow_kept", "mean", "deviation", "below", "near"), 0.125), "mode": None}
    balance |= {"known": True, "precision": 0.5, "recall": None, "static": [3, 0, 1], "moving": [0, 10**12, 0]}
    rows = {
        older_tables.terms: terms,
        older_tables.metrics: metrics,
        older_tables.probes: [{**KEY, "probes": 3, "seconds": 0.25, "problem": "no memory"}],
        older_tables.gradients: [{**KEY, "place": "shared", "term": "a", "norm": 2.0}],
        older_tables.conflicts: [{**KEY, "place": "shared", "term": "a", "other": "b", "cosine": -0.5}],
        older_tables.rebalancing: [{**KEY, **balance}],
    }
    reader = older(storage, 5, rows)
    found = {(row["group"], row["name"]): row["value"] for row in stored_rows(reader, tables.measurements)}
    by_term = {"value": (0.25, None), "weight": (4.0, 1.0), "contribution": (0.5, 0.5), "output_gradient": (0.1, 0.2)}
    expected = {(group, term): value for group, pair in by_term.items() for term, value in zip("ab", pair, strict=True)}
    expected |= {("metric", "validation/abs_rel"): 0.5, ("metric", "test/abs_rel"): 0.75, ("without_pixels", "b"): 10.0}
    expected |= {("probe", "probes"): 3.0, ("probe", "seconds"): 0.25, ("gradient", "shared/a"): 2.0}
    expected |= {("cosine", "shared/a/b"): -0.5}
    numbers = {name: value for name, value in balance.items() if isinstance(value, float)}
    expected |= {("rebalancing", name): value for name, value in numbers.items()} | {
        ("rebalancing", "moving_known"): 1.0
    }
    expected |= {("delta", "static/0"): 3.0, ("delta", "static/2"): 1.0, ("delta", "moving/1"): 1e12}
    assert found == expected
    assert [row["problem"] for row in stored_rows(reader, tables.epochs)] == ["no memory"]
    assert not set(older_tables.metadata.tables) & set(sa.inspect(reader.database.engine).get_table_names())
    assert reader.pixel_warnings(0)[0].startswith("the loss term 'b' had no pixel to learn from at 10 of 10 steps")
    assert list(reader.terms(0)) == ["a", "b"]
    reader.close()


def test_a_transaction_of_ours_holds_optunas_writes_too(storage):
    database = Database(storage, mode="create")

    def dies() -> None:
        study = optuna.create_study(storage=database.storage, study_name="s")
        study.enqueue_trial({"x": 1})
        study.ask()
        assert len(study.trials) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), database.writing():
        dies()
    assert optuna.get_all_study_names(database.storage) == []
    database.close()


def test_one_writer_at_a_time_on_sqlite(tmp_path):
    """Read, then write what was read plus one, in four threads: with a deferred transaction this loses or fails."""
    database = Database(f"sqlite:///{tmp_path}/x.db", mode="create")
    with database.writing() as connection:
        connection.execute(sa.text("CREATE TABLE counter (n INTEGER)"))
        connection.execute(sa.text("INSERT INTO counter VALUES (0)"))

    def count() -> None:
        for _ in range(50):
            with database.writing() as connection:
                n = connection.scalar(sa.text("SELECT n FROM counter"))
                connection.execute(sa.text("UPDATE counter SET n = :n"), {"n": n + 1})

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as connection:
        assert connection.scalar(sa.text("SELECT n FROM counter")) == 200
    database.close()


def test_the_databases_clock_goes(storage):
    database = Database(storage, mode="create")
    found = []
    for _ in range(2):
        with database.reading() as connection:
            found.append(connection.scalar(sa.select(database.now())))
        time.sleep(0.05)
    assert 0.03 < found[1] - found[0] < 5
    assert abs(found[0] - time.time()) < 5
    database.close()


def test_a_database_killed_in_a_write_is_whole(tmp_path):
    """SIGKILL in the middle of commits, six times: the file passes SQLite's check and has no half report."""
    url = f"sqlite:///{tmp_path}/x.db"
    code = (
        "import sys; from tests.stores import *\n"
        "with driving(sys.argv[1]) as writer:\n"
        "    print('ready', flush=True)\n"
        "    while True:\n"
        "        number = ask(writer)\n"
        "        for epoch in range(1, 4):\n"
        "            report(writer, number, attempt(str(number)), record(epoch))\n"
        "        writer.complete(number)\n"
    )
    for round_ in range(6):
        process = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, cwd=ROOT, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.02 + 0.03 * round_)
        process.kill()
        process.communicate()
        store = StudyStore.open(url, "s")
        epochs = store.epochs()
        for trial in store.trials():
            assert len(trial.params) == 2
            assert list(trial.intermediate_values) == list(range(1, epochs.get(trial.number, 0) + 1))
            assert trial.state.name != "COMPLETE" or trial.value == trial.intermediate_values[3]
        store.close()
