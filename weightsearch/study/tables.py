"""Tables of weightsearch, in the same database as Optuna's tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    func,
)

metadata = MetaData()


schema = Table("weightsearch_schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

studies = Table(
    "weightsearch_studies",
    metadata,
    Column("study_id", Integer, primary_key=True, autoincrement=False),  # Optuna's
    Column("spec", JSON, nullable=False),  # see StudyStore.create
    Column("created", DateTime, nullable=False, server_default=func.now()),
)

drivers = Table(
    "weightsearch_drivers",
    metadata,
    Column("driver_id", String(32), primary_key=True),
    Column("study_id", Integer, nullable=False, index=True),
    Column("owner", String(300), nullable=False),
    Column("process", JSON, nullable=False),  # see study/process.py
    Column("started", Float(53), nullable=False),  # these three: seconds since 1970, by the database's clock
    Column("heartbeat", Float(53), nullable=False),
    Column("expires", Float(53), nullable=False),
)

assignments = Table(
    "weightsearch_assignments",
    metadata,
    Column("trial_id", Integer, primary_key=True, autoincrement=False),
    Column("driver_id", String(32), nullable=False),  # the driver of the trial, while it is RUNNING
    Column("times", Integer, nullable=False),  # how often the trial was assigned
    Column("failures", Integer, nullable=False),  # of its workers
)

environments = Table(
    "weightsearch_environments",
    metadata,
    Column("environment_id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("content", JSON, nullable=False),
)

trials = Table(
    "weightsearch_trials",
    metadata,
    Column("trial_id", Integer, primary_key=True, autoincrement=False),  # Optuna's
    Column("attempt", String(64), nullable=False),  # attempt that the trial's rows come from
    Column("attempts", Integer, nullable=False),
    Column("protocol", JSON, nullable=False),
    Column("environment_id", ForeignKey(environments.c.environment_id), nullable=False),
)

epochs = Table(
    "weightsearch_epochs",
    metadata,
    Column("trial_id", Integer, primary_key=True, autoincrement=False),  # Optuna's
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("seconds", Float(53), nullable=False),
    Column("steps", BigInteger, nullable=False),
    Column("empty_steps", BigInteger, nullable=False),
    Column("train_loss", Float(53)),
    Column("lr", Float(53), nullable=False),
    Column("problem", Text),  # why probing ended
)

measurements = Table(
    "weightsearch_measurements",
    metadata,
    Column("trial_id", Integer, autoincrement=False),
    Column("group", String(40)),  # see records.Group
    Column("name", String(650)),  # the group's keys, joined by `/`
    Column("epoch", Integer, autoincrement=False),
    Column("value", Float(53)),  # null if not finite
    PrimaryKeyConstraint("trial_id", "group", "name", "epoch"),
    sqlite_with_rowid=False,
)

pictures = Table(
    "weightsearch_pictures",
    metadata,
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),  # of the trial, or OF_ALL
    Column("frame", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(20), primary_key=True),
    Column("name", Text, nullable=False),
    Column("low", Float(53), nullable=False),
    Column("high", Float(53), nullable=False),
    Column("content", LargeBinary, nullable=False),
)

confirmations = Table(
    "weightsearch_confirmations",
    metadata,
    Column("trial_id", Integer, primary_key=True, autoincrement=False),
    Column("seed", BigInteger, primary_key=True, autoincrement=False),  # of the training with a new seed
    Column("split", String(20), primary_key=True),
    Column("metric", String(100), primary_key=True),
    Column("value", Float(53)),
)


OF_ALL: Final = -1  # in place of a trial's number: rows shared by all trials
PER_EPOCH: Final = (epochs, measurements)
PER_TRIAL: Final = (*PER_EPOCH, trials, assignments, confirmations)
PER_STUDY: Final = (studies, drivers, pictures)


def finite(value: float) -> float | None:
    """Replace an infinite or NaN value by None."""
    return value if math.isfinite(value) else None


def measurement_rows(trial_id: int, epoch: int, groups: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Rows of an epoch's measurements. groups: group -> name -> value."""
    return [
        {"trial_id": trial_id, "epoch": epoch, "group": group, "name": name, "value": finite(value)}
        for group, rows in groups.items()
        for name, value in rows.items()
    ]
