"""A small study in a database, and one driver's hold on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler

from weightsearch.errors import StoreError
from weightsearch.records import Environment, EpochRecord, TermRecord, measured_terms
from weightsearch.study.lease import Lease
from weightsearch.study.process import Process
from weightsearch.study.store import StudyStore
from weightsearch.study.writer import Attempt, Writer

SPACE = {"loss.a.weight": FloatDistribution(0.1, 10, log=True), "train.lr": FloatDistribution(1e-4, 1e-2, log=True)}
STORED = {
    "tree": {
        "name": "s",
        "data": {"name": "procedural", "size": [32, 48], "min_depth": 0.3, "max_depth": 6.0},
        "model": {"name": "encoder_decoder"},
        "loss": {"a": {"weight": {"low": 0.1, "high": 10, "log": True}}, "b": {"weight": 1.0}},
        "train": {"epochs": 2, "lr": {"low": 1e-4, "high": 1e-2, "log": True}},
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
        metrics={"abs_rel": value / epoch, "rmse": 1.0 / epoch},
        measurements=measured_terms({"a": TermRecord(0.25, 4.0, 0.5, 0.1), "b": TermRecord(1.0, 1.0, 0.5, 0.2)}),
    )


def with_empty(record: EpochRecord, steps: Mapping[str, float]) -> EpochRecord:
    """The record of an epoch in which terms had no pixel at so many steps."""
    return replace(record, measurements={**record.measurements, "without_pixels": steps})


NOBODY = Process("somebody@elsewhere", "elsewhere", "", "", 1, "")  # of whom nothing can be known here


@contextmanager
def driving(
    url: str,
    name: str = "s",
    config: dict[str, Any] = STORED,
    *,
    join: bool = False,
    clock: Callable[[], float] | None = None,
    process: Process | None = None,
) -> Iterator[Writer]:
    """One driver's hold on a study, which is made if it is not there."""
    store = StudyStore.create(url, name, list(config["objectives"].values()), config, clock=clock)
    try:
        lease = Lease.take(store, join=join, process=process)
        yield Writer(store, lease)
        with suppress(StoreError):  # the study may have been deleted
            lease.release()
    finally:
        store.close()


def ask(writer: Writer, seed: int = 0) -> int:
    return writer.ask(RandomSampler(seed=seed), SPACE).number


def report(writer: Writer, number: int, attempt: Attempt, *records: EpochRecord) -> list[bool]:
    return [writer.record(number, attempt, one).new for one in records]


def rows(store: StudyStore, table: sa.Table) -> list[dict[str, Any]]:
    with store.database.reading() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(table))]
