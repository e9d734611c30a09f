"""A database with another program's study of the same name is refused unchanged; a damaged database is a one-line
error; folders may have any name."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tests.stores import ask, attempt, driving, record, report
from weightsearch.cli.app import GIVEN_STORAGE, call_of, opened
from weightsearch.config import load_study
from weightsearch.errors import StoreError, StoreMissing, WeightsearchError
from weightsearch.search.driver import StudyRun
from weightsearch.search.ledger import stored_config
from weightsearch.study.database import Database
from weightsearch.study.frames import Frames
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import summarise
from weightsearch.study.url import parse_url


def schema_of(url: str) -> dict[str, list[str]]:
    engine = sa.create_engine(url)
    found = sa.inspect(engine)
    tables = {
        name: sorted(str(column["name"]) for column in found.get_columns(name)) for name in found.get_table_names()
    }
    with engine.connect() as connection:
        counts = {name: str(connection.scalar(sa.text(f'SELECT count(*) FROM "{name}"'))) for name in tables}
    engine.dispose()
    return {name: [*columns, counts[name]] for name, columns in tables.items()}


def optunas(url: str, name: str) -> None:
    storage = optuna.storages.RDBStorage(url)
    study = optuna.create_study(storage=storage, study_name=name)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    storage.remove_session()
    storage.engine.dispose()


def test_a_study_of_that_name_that_optuna_made(tiny, storage):
    optunas(storage, "tiny")
    before = schema_of(storage)
    file = Path(storage.removeprefix("sqlite:///"))
    data = file.read_bytes() if storage.startswith("sqlite") else b""
    config = load_study(tiny, [f"storage={storage}"])
    with pytest.raises(StoreError, match="the study 'tiny' was not made by weightsearch; take another name"):
        StudyRun(config)
    assert schema_of(storage) == before
    assert not any("weightsearch" in name for name in before)
    if data:
        assert file.read_bytes() == data
        assert sorted(one.name for one in tiny.parent.iterdir()) == ["study.db", "tiny.yaml"]
    assert not (tiny.parent / "runs").exists()


def test_a_study_of_another_name_beside_those_of_optuna(tiny, storage):
    optunas(storage, "theirs")
    config = load_study(tiny, [f"storage={storage}"])
    StudyStore.create(storage, "tiny", ["minimize"], stored_config(config)).close()
    with pytest.raises(StoreError, match="the study 'theirs' was not made by weightsearch"):
        StudyStore.create(storage, "theirs", ["minimize"], stored_config(config))
    theirs = optuna.storages.RDBStorage(storage)
    assert len(optuna.load_study(study_name="theirs", storage=theirs).trials) == 2
    theirs.remove_session()
    theirs.engine.dispose()


def test_no_connection_is_lost_where_another_process_makes_the_same_tables(storage, monkeypatch):
    """The first try of Optuna's storage fails after it has connected."""
    made = optuna.storages.RDBStorage.__init__
    left = [IntegrityError("INSERT", {}, Exception("made already"))]
    engines: list[sa.Engine] = []

    def fails_once(self: optuna.storages.RDBStorage, *words: Any, **options: Any) -> None:
        made(self, *words, **options)
        engines.append(self.engine)
        if left:
            raise left.pop()

    monkeypatch.setattr(optuna.storages.RDBStorage, "__init__", fails_once)
    Database(storage, mode="create").close()
    assert len(engines) == 2
    assert [engine.pool.checkedin() for engine in engines] == [0, 0]


def test_a_refused_run_leaves_its_folder_to_nobody(tiny):
    with driving("sqlite:///tiny.db", "tiny"), pytest.raises(WeightsearchError):
        StudyRun(load_study(tiny))
    assert not (tiny.parent / "runs").exists()


NAMES = ["100% #1?x=y&z", "a b", "{a}", "ä", "%41", "a;b", "x?y", "file:z"]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    written = name.replace("%41", "%2541")
    url = f"sqlite:///{tmp_path}/{written}/s.db"
    with driving(url) as writer:
        report(writer, ask(writer), attempt(), record(1))
    assert (folder / "s.db").is_file()
    assert [one.name for one in tmp_path.iterdir()] == [name]
    store = StudyStore.open(f"sqlite:///{quote(str(folder))}/s.db", "s")
    assert store.database.name == f"sqlite:///{folder}/s.db"
    assert store.epochs() == {0: 1}
    store.close()


def test_options_of_a_file():
    url = parse_url("sqlite:////a?b/c.db?timeout=3")
    assert (url.database, dict(url.query)) == ("/a?b/c.db", {"timeout": "3"})


def test_a_database_that_is_not_there_is_named_by_its_whole_path(tiny):
    with pytest.raises(StoreError) as error:
        Database("sqlite:///tiny.db", mode="read")
    assert str(error.value) == (
        f"there is no study database {tiny.parent}/tiny.db (the storage sqlite:///tiny.db lies in the working folder: "
        "go to the folder where the study was run); `weightsearch run` would create one"
    )


def test_a_database_beside_the_study_file_is_named(tiny, tmp_path, monkeypatch):
    (tmp_path / "a b.db").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with (
        pytest.raises(StoreMissing, match=rf"there is one beside the study file: {tmp_path}/a b\.db"),
        opened(tiny, ["storage=sqlite:///a%20b.db"]),
    ):
        pass


def read_all(url: str) -> None:
    store = StudyStore.open(url, "s")
    try:
        summary = summarise(store)
        Frames.read(store, summary)
        for trial in summary.trials:
            store.metrics(trial.number)
            store.protocol_and_environment(trial.number)
    finally:
        store.close()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_page_is_damaged_it_is_one_line(tmp_path, seed):
    """Overwrite pages and single cells. SQLite's own check does not notice damaged cells."""
    path = tmp_path / "s.db"
    url = f"sqlite:///{path}"
    with driving(url) as writer:
        for _ in range(20):
            report(writer, ask(writer), attempt(), record(1), record(2))
    data, numbers = path.read_bytes(), random.Random(seed)
    for page in numbers.sample(range(len(data) // 4096), 20):
        damaged = bytearray(data)
        at = page * 4096 + (0 if page % 2 else numbers.randrange(4000))
        damaged[at : at + 96] = numbers.randbytes(96)
        path.write_bytes(damaged)
        for beside in ("-wal", "-shm"):
            path.with_name(f"s.db{beside}").unlink(missing_ok=True)
        try:
            read_all(url)
        except StoreError as error:
            assert "\n" not in str(error)
            assert str(path) in str(error)


def test_text_that_is_no_text_is_named_as_damage(tmp_path):
    path = tmp_path / "s.db"
    with driving(f"sqlite:///{path}") as writer:
        report(writer, ask(writer), attempt(), record(1))
    data = path.read_bytes()
    assert b'"objectives"' in data
    path.write_bytes(data.replace(b'"objectives"', b'"objectiv\xff\xfe"'))
    for beside in ("-wal", "-shm"):
        path.with_name(f"s.db{beside}").unlink(missing_ok=True)
    with pytest.raises(
        StoreError, match=r"Could not decode to UTF-8 column 'spec'.*save what can be saved with: sqlite3 "
    ):
        read_all(f"sqlite:///{path}")


def test_a_printed_command_shows_no_password(monkeypatch):
    """The program moves the password of a `--set storage=...` into a variable of its own, which no shell has."""
    monkeypatch.setenv(GIVEN_STORAGE, "postgresql://ann:hunter2@db/studies")
    sets = [f"storage=${{{GIVEN_STORAGE}}}", "seed=3"]
    assert call_of(Path("s.yaml"), sets) == (
        "s.yaml",
        "--set",
        "storage=postgresql://ann:***@db/studies",
        "--set",
        "seed=3",
    )
