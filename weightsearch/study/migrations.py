"""Versions of a database: check whose tables it has, and migrate tables of older versions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import sqlalchemy as sa

from weightsearch.errors import StoreError, command
from weightsearch.older_records import balance_rows
from weightsearch.records import HEADS
from weightsearch.study import tables
from weightsearch.study.optuna_internals import TABLES
from weightsearch.study.tables import measurement_rows

VERSION: Final = 6


def look(
    connection: sa.Connection, name: str, *, create_file: bool, study: str | None = None
) -> tuple[int | None, bool]:
    """Read the version of weightsearch's tables (None without them), and whether Optuna's tables exist.

    Raises StoreError for a damaged file, another program's database, tables of a newer weightsearch, and a study of
    this name that another program made.
    """
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        _check_file(connection, name)
    existing = set(sa.inspect(connection).get_table_names())
    if tables.schema.name in existing:
        version = connection.scalar(sa.select(tables.schema.c.version))
        if version is not None and version > VERSION:
            raise StoreError(
                f"{name}: its tables have version {version}, this weightsearch reads {VERSION}; "
                "use the version that wrote it, or a newer one"
            )
        return version, True
    optunas = existing >= TABLES
    if create_file and not optunas and (existing if sqlite else existing & TABLES):
        some = ", ".join(sorted(existing)[:3])
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
    """Create weightsearch's tables, or migrate them from an older version."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x77656967)))  # two drivers may do this at once
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
    """Return True if an SQLite file has a write-ahead log, whose content belongs to the database."""
    return path.with_name(f"{path.name}-wal").exists()


def can_be_written(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def rescue(name: str) -> str:
    """Advice for a damaged file. name: as in messages, sqlite:///PATH."""
    file = command("sqlite3", name.removeprefix("sqlite:///"), ".recover")
    return f"; restore a copy, or save what can be saved with: {file} | sqlite3 NEW.db, and set storage to NEW.db"


def _check_file(connection: sa.Connection, name: str) -> None:
    problem = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
    if problem != "ok":
        lines = str(problem).splitlines()
        raise StoreError(f"{name}: the file is damaged: {lines[-1]}{rescue(name)}")


def _drivers_and_assignments(_: sa.Connection) -> None:
    """Version 2 added two tables, which `create_all` has created; trials left RUNNING have no driver."""


def _nothing(_: sa.Connection) -> None:
    """Versions 3 and 4 added tables, which stay empty for older trials."""


ONE_UNIT: Final = ("dual_head", "encoder_decoder", "disparity", "flow")  # models of version 4


def _heads_of_one_unit(connection: sa.Connection) -> None:
    """Version 5 removed gradients at heads with several units, which version 4 stored but did not show."""
    trials = sa.table("trials", sa.column("trial_id"), sa.column("study_id"))
    for study, config in connection.execute(sa.select(tables.studies.c.study_id, tables.studies.c.spec)).all():
        tree = config.get("tree", {})
        name = tree.get("model", {}).get("name", "")
        if tree.get("data", {}).get("neighbours") and name not in ONE_UNIT:
            mine = sa.select(trials.c.trial_id).where(trials.c.study_id == study)
            for table in (_older("gradients", "trial_id", "place"), _older("conflicts", "trial_id", "place")):
                if _is_there(connection, table):
                    where = table.c.trial_id.in_(mine), table.c.place == HEADS
                    connection.execute(sa.delete(table).where(*where))


def _measurements(connection: sa.Connection) -> None:
    """Version 6 replaced six tables by one table of measurements."""
    if "problem" not in {info["name"] for info in sa.inspect(connection).get_columns(tables.epochs.name)}:
        connection.exec_driver_sql(f"ALTER TABLE {tables.epochs.name} ADD COLUMN problem TEXT")
    copied = [
        (_older("terms", "trial_id", "epoch", "term", *OLDER_TERM_COLUMNS), ("term",), OLDER_TERM_COLUMNS),
        (_older("metrics", "trial_id", "epoch", "split", "metric", "value"), ("split", "metric"), {"value": "metric"}),
        (_older("gradients", "trial_id", "epoch", "place", "term", "norm"), ("place", "term"), {"norm": "gradient"}),
        (
            _older("conflicts", "trial_id", "epoch", "place", "term", "other", "cosine"),
            ("place", "term", "other"),
            {"cosine": "cosine"},
        ),
    ]
    for table, keys, columns in copied:
        if _is_there(connection, table):
            for column, group in columns.items():
                _copy(connection, table, keys, column, group)
    _without_pixels(connection)
    _probe_costs(connection)
    _rebalancing_rows(connection)
    for name in ("terms", "metrics", "probes", "gradients", "conflicts", "rebalancing"):
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS weightsearch_{name}")


OLDER_BALANCE: Final = (
    "mode", "kept", "flow_kept", "mean", "deviation", "below", "near", "known", "precision", "recall",
)  # fmt: skip
OLDER_TERM_COLUMNS: Final = MappingProxyType(
    {"value": "value", "weight": "weight", "contribution": "contribution", "gradient": "output_gradient"}
)


def _older(name: str, *columns: str) -> sa.TableClause:
    """Describe a table that newer versions do not have."""
    return sa.table(f"weightsearch_{name}", *map(sa.column, columns))


def _is_there(connection: sa.Connection, table: sa.TableClause) -> bool:
    return sa.inspect(connection).has_table(table.name)


def _copy(connection: sa.Connection, table: sa.TableClause, keys: Sequence[str], column: str, group: str) -> None:
    """Copy a column of an older table to rows of a group. keys: columns that make up the rows' names."""
    name: sa.ColumnElement[str] = sa.cast(table.c[keys[0]], sa.String)
    for key in keys[1:]:
        name = name + "/" + table.c[key]
    rows = sa.select(table.c.trial_id, sa.literal(group), name, table.c.epoch, table.c[column])
    into = ["trial_id", "group", "name", "epoch", "value"]
    connection.execute(sa.insert(tables.measurements).from_select(into, rows))


def _without_pixels(connection: sa.Connection) -> None:
    """Move the counts of steps without pixels, which version 5 stored as metrics of a split `without_pixels`."""
    table, start = tables.measurements, "without_pixels/"
    mine = (table.c.group == "metric") & table.c.name.startswith(start, autoescape=True)
    name = sa.func.substr(table.c.name, len(start) + 1)
    connection.execute(sa.update(table).where(mine).values(group="without_pixels", name=name))


def _probe_costs(connection: sa.Connection) -> None:
    table = _older("probes", "trial_id", "epoch", "probes", "seconds", "problem")
    if not _is_there(connection, table):
        return
    into = ["trial_id", "group", "name", "epoch", "value"]
    for column in ("probes", "seconds"):
        values = sa.cast(table.c[column], sa.Float(53))
        rows = sa.select(table.c.trial_id, sa.literal("probe"), sa.literal(column), table.c.epoch, values)
        connection.execute(sa.insert(tables.measurements).from_select(into, rows))
    for row in connection.execute(sa.select(table).where(table.c.problem.is_not(None))).all():
        mine = (tables.epochs.c.trial_id == row.trial_id) & (tables.epochs.c.epoch == row.epoch)
        connection.execute(sa.update(tables.epochs).where(mine).values(problem=row.problem))


def _rebalancing_rows(connection: sa.Connection) -> None:
    table = sa.table(
        "weightsearch_rebalancing",
        *map(sa.column, ("trial_id", "epoch", *OLDER_BALANCE)),
        sa.column("static", sa.JSON),
        sa.column("moving", sa.JSON),
    )
    if not _is_there(connection, table):
        return
    for row in connection.execute(sa.select(table)).all():
        groups = balance_rows({name: getattr(row, name) for name in (*OLDER_BALANCE, "static", "moving")})
        connection.execute(sa.insert(tables.measurements), measurement_rows(row.trial_id, row.epoch, groups))


# Version -> migration to the next version.
MIGRATIONS: Final[Mapping[int, Callable[[sa.Connection], None]]] = {
    1: _drivers_and_assignments,
    2: _nothing,
    3: _nothing,
    4: _heads_of_one_unit,
    5: _measurements,
}
