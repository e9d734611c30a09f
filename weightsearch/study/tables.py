"""Our tables, beside Optuna's in the same database."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    func,
)

metadata = MetaData()


def _epoch_of_a_trial() -> tuple[Column[int], Column[int]]:
    """The key that every table of epochs begins with; trial_id is Optuna's."""
    return (
        Column("trial_id", Integer, primary_key=True, autoincrement=False),
        Column("epoch", Integer, primary_key=True, autoincrement=False),
    )


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
    Column("started", Float(53), nullable=False),  # these three by the database's clock, in seconds since 1970
    Column("heartbeat", Float(53), nullable=False),
    Column("expires", Float(53), nullable=False),
)

assignments = Table(
    "weightsearch_assignments",
    metadata,
    Column("trial_id", Integer, primary_key=True, autoincrement=False),
    Column("driver_id", String(32), nullable=False),  # who has the trial, while it is RUNNING
    Column("times", Integer, nullable=False),  # that it was handed out
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
    Column("attempt", String(64), nullable=False),  # the one that the trial's rows come from
    Column("attempts", Integer, nullable=False),
    Column("protocol", JSON, nullable=False),
    Column("environment_id", ForeignKey(environments.c.environment_id), nullable=False),
)

epochs = Table(
    "weightsearch_epochs",
    metadata,
    *_epoch_of_a_trial(),
    Column("seconds", Float(53), nullable=False),
    Column("steps", BigInteger, nullable=False),
    Column("empty_steps", BigInteger, nullable=False),
    Column("train_loss", Float(53)),
    Column("lr", Float(53), nullable=False),
)

terms = Table(
    "weightsearch_terms",
    metadata,
    *_epoch_of_a_trial(),
    Column("term", String(200), primary_key=True),
    Column("value", Float(53)),
    Column("weight", Float(53), nullable=False),
    Column("contribution", Float(53)),
    Column("gradient", Float(53)),
)

metrics = Table(
    "weightsearch_metrics",
    metadata,
    *_epoch_of_a_trial(),
    Column("split", String(20), primary_key=True),  # or records.WITHOUT_PIXELS: then `metric` is a loss term
    Column("metric", String(100), primary_key=True),
    Column("value", Float(53)),
)

probes = Table(
    "weightsearch_probes",
    metadata,
    *_epoch_of_a_trial(),
    Column("probes", Integer, nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("problem", Text),
)

gradients = Table(
    "weightsearch_gradients",
    metadata,
    *_epoch_of_a_trial(),
    Column("place", String(20), primary_key=True),  # see records.ProbeRecord
    Column("term", String(200), primary_key=True),
    Column("norm", Float(53)),
)

conflicts = Table(
    "weightsearch_conflicts",
    metadata,
    *_epoch_of_a_trial(),
    Column("place", String(20), primary_key=True),
    Column("term", String(200), primary_key=True),
    Column("other", String(200), primary_key=True),
    Column("cosine", Float(53), nullable=False),
)

rebalancing = Table(
    "weightsearch_rebalancing",
    metadata,
    *_epoch_of_a_trial(),
    Column("mode", Float(53)),  # these by the names of records.RebalanceRecord
    Column("kept", Float(53)),
    Column("flow_kept", Float(53)),
    Column("mean", Float(53)),
    Column("deviation", Float(53)),
    Column("below", Float(53)),
    Column("near", Float(53)),
    Column("known", Boolean, nullable=False),
    Column("precision", Float(53)),
    Column("recall", Float(53)),
    Column("static", JSON, nullable=False),
    Column("moving", JSON, nullable=False),
)

pictures = Table(
    "weightsearch_pictures",
    metadata,
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),  # the trial's, or OF_ALL
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
    Column("seed", BigInteger, primary_key=True, autoincrement=False),  # that it was trained anew with
    Column("split", String(20), primary_key=True),
    Column("metric", String(100), primary_key=True),
    Column("value", Float(53)),
)


OF_ALL: Final = -1  # in place of a trial's number: what all trials share
PER_EPOCH: Final = (epochs, terms, metrics, probes, gradients, conflicts, rebalancing)
PER_TRIAL: Final = (*PER_EPOCH, trials, assignments, confirmations)
PER_STUDY: Final = (studies, drivers, pictures)
