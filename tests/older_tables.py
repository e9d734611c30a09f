"""The tables of measurements that databases of version 1 to 5 had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import JSON, Boolean, Column, Engine, Float, Integer, String, Text

from weightsearch.study import tables

metadata = sa.MetaData()


def _table(name: str, *columns: Column) -> sa.Table:
    keys = (Column(key, Integer, primary_key=True, autoincrement=False) for key in ("trial_id", "epoch"))
    return sa.Table(f"weightsearch_{name}", metadata, *keys, *columns)


def _key(name: str, length: int) -> Column:
    return Column(name, String(length), primary_key=True)


def _floats(*names: str) -> list[Column]:
    return [Column(name, Float(53)) for name in names]


terms = _table("terms", _key("term", 200), *_floats("value", "weight", "contribution", "gradient"))
metrics = _table("metrics", _key("split", 20), _key("metric", 100), *_floats("value"))
probes = _table("probes", Column("probes", Integer, nullable=False), *_floats("seconds"), Column("problem", Text))
gradients = _table("gradients", _key("place", 20), _key("term", 200), *_floats("norm"))
conflicts = _table("conflicts", _key("place", 20), _key("term", 200), _key("other", 200), *_floats("cosine"))
rebalancing = _table(
    "rebalancing",
    *_floats("mode", "kept", "flow_kept", "mean", "deviation", "below", "near"),
    Column("known", Boolean, nullable=False),
    *_floats("precision", "recall"),
    Column("static", JSON, nullable=False),
    Column("moving", JSON, nullable=False),
)
NEW_IN: Final[Mapping[int, Sequence[sa.Table]]] = {
    1: (terms, metrics),
    3: (probes, gradients, conflicts),
    4: (rebalancing,),
}


def turn_into(engine: Engine, version: int, rows: Mapping[sa.Table, Sequence[Mapping[str, Any]]]) -> None:
    """Make a database of version 6 one of an older version, with these rows in place of its measurements."""
    with engine.begin() as connection:
        tables.measurements.drop(connection)
        connection.exec_driver_sql(f"ALTER TABLE {tables.epochs.name} DROP COLUMN problem")
        for first, added in NEW_IN.items():
            for table in added if first <= version else ():
                table.create(connection)
                if rows.get(table):
                    connection.execute(sa.insert(table), list(rows[table]))
        connection.execute(sa.update(tables.schema).values(version=version))
