"""The kind of a database: empty, with somebody else's tables, or with ours of some version."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from weightsearch.errors import StoreError, command
from weightsearch.records import HEADS
from weightsearch.study import tables

VERSION: Final = 5
OPTUNA: Final = frozenset({"version_info", "studies", "trials"})


def look(
    connection: sa.Connection, name: str, *, create_file: bool, study: str | None = None
) -> tuple[int | None, bool]:
    """The version of our tables, None if there are none, and whether Optuna's are there. Raises StoreError for a file
    that is damaged or another program's, for tables that a newer weightsearch made, and for a study of this name that
    another program made."""
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        _check_file(connection, name)
    found = set(sa.inspect(connection).get_table_names())
    if tables.schema.name in found:
        version = connection.scalar(sa.select(tables.schema.c.version))
        if version is not None and version > VERSION:
            raise StoreError(
                f"{name}: its tables have version {version}, this weightsearch reads {VERSION}; "
                "use the weightsearch that wrote it, or a newer one"
            )
        return version, True
    optunas = found >= OPTUNA
    if create_file and not optunas and (found if sqlite else found & OPTUNA):
        some = ", ".join(sorted(found)[:3])
        raise StoreError(f"{name}: another program's database (its tables: {some}, ...); name another one")
    if optunas and study is not None:
        names = sa.Table("studies", sa.MetaData(), sa.Column("study_name", sa.String))
        if connection.scalar(sa.select(names.c.study_name).where(names.c.study_name == study)) is not None:
            raise foreign_study(name, study)
    return None, optunas


def foreign_study(name: str, study: str) -> StoreError:
    return StoreError(
        f"{name}: the study {study!r} was not made by weightsearch; take another name, with --force-new NAME or "
        "in the study file, or another storage"
    )


def bring_up_to_date(connection: sa.Connection) -> None:
    """Make our tables, or those that an older version lacks."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x77656967)))  # two drivers may come at once
    tables.metadata.create_all(connection)
    version = connection.scalar(sa.select(tables.schema.c.version))
    if version is None:
        connection.execute(sa.insert(tables.schema).values(version=VERSION))
        return
    for old in range(version, VERSION):
        MIGRATIONS[old](connection)
    if version < VERSION:
        connection.execute(sa.update(tables.schema).values(version=VERSION))


def has_log(path: Path) -> bool:
    """True if a file has SQLite's write-ahead log, whose content belongs to the database."""
    return path.with_name(f"{path.name}-wal").exists()


def can_be_written(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def rescue(name: str) -> str:
    """The remedy for a damaged file. name: as in messages, sqlite:///PATH."""
    file = command("sqlite3", name.removeprefix("sqlite:///"), ".recover")
    return f"; restore a copy, or save what can be saved with: {file} | sqlite3 NEW.db, and set storage to NEW.db"


def _check_file(connection: sa.Connection, name: str) -> None:
    problem = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if problem != "ok":
        lines = str(problem).splitlines()
        raise StoreError(f"{name}: the file is damaged: {lines[-1]}{rescue(name)}")


def _drivers_and_assignments(_: sa.Connection) -> None:
    """Version 2 added two tables, which `create_all` has made; trials left RUNNING belong to no driver of theirs."""


def _probes_pictures_confirmations(_: sa.Connection) -> None:
    """Version 3 added five tables; what older trials did not measure is not there."""


def _rebalancing(_: sa.Connection) -> None:
    """Version 4 added a table; no older trial was rebalanced."""


ONE_UNIT: Final = ("dual_head", "encoder_decoder", "disparity", "flow")  # as version 4 knew them


def _heads_of_one_unit(connection: sa.Connection) -> None:
    """Version 5 has no gradients at heads that may have several units, which version 4 stored and did not show."""
    trials = sa.table("trials", sa.column("trial_id"), sa.column("study_id"))
    for study, config in connection.execute(sa.select(tables.studies.c.study_id, tables.studies.c.spec)).all():
        tree = config.get("tree", {})
        name = tree.get("model", {}).get("name", "")
        if tree.get("data", {}).get("neighbours") and name not in ONE_UNIT:
            mine = sa.select(trials.c.trial_id).where(trials.c.study_id == study)
            for table in (tables.gradients, tables.conflicts):
                connection.execute(sa.delete(table).where(table.c.trial_id.in_(mine), table.c.place == HEADS))


# Version -> what leads from it to the next one.
MIGRATIONS: Final[Mapping[int, Callable[[sa.Connection], None]]] = {
    1: _drivers_and_assignments,
    2: _probes_pictures_confirmations,
    3: _rebalancing,
    4: _heads_of_one_unit,
}
