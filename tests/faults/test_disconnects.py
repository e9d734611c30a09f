"""The connection to a real PostgreSQL is cut before one statement of a driver's work after another."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.stores import HERE
from weightsearch.config import load_study
from weightsearch.errors import StoreUnavailable
from weightsearch.records import EpochRecord, TermRecord, measured_terms
from weightsearch.search.ledger import Ledger, stored_config
from weightsearch.study.database import Database
from weightsearch.study.lease import Lease
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import summarise
from weightsearch.study.writer import Attempt, Writer

pytestmark = pytest.mark.slow

STRIDE = 7  # of the statements before which it is cut: all of them take five minutes


class Cut:
    """Ends the session of the n-th statement before it is sent, from another connection."""

    def __init__(self, engine: sa.Engine, url: str) -> None:
        plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self.other = psycopg.connect(plain, autocommit=True)
        self.at: int | None = None
        self.count = 0
        sa.event.listen(engine, "before_cursor_execute", self.before)

    def before(self, connection: Any, *_: object) -> None:
        self.count += 1
        if self.count == self.at:
            pid = connection.connection.driver_connection.info.backend_pid
            self.other.execute("SELECT pg_terminate_backend(%s, 2000)", (pid,))


def again(action: Any) -> Any:
    """Repeat an action when the database was away, as the outbox does."""
    for _ in range(3):
        try:
            return action()
        except StoreUnavailable:
            continue
    raise AssertionError("unavailable three times")


def work(database: Database, name: str, config: Any) -> list[tuple[Any, ...]]:
    """Three trials of two epochs, one of which fails; the outcome."""
    store = again(lambda: StudyStore.create_in(database, name, ["minimize"], stored_config(config)))
    lease = again(lambda: Lease.take(store, join=True))  # an answer that is lost leaves a lease of our own behind
    ledger = again(lambda: Ledger(config, Writer(store, lease)))
    while (assignment := again(ledger.next)) is not None:
        number = assignment.number
        if number == 2:
            again(lambda number=number: ledger.worker_failed(number, 1, "died", ledger.next_order()))
            again(lambda number=number: ledger.fail(number, "why"))
        for epoch in (1, 2):
            terms = measured_terms({"a": TermRecord(1, 1, 1, 1)})
            record = EpochRecord(epoch, 0.1, 5, 1.0, 1e-3, {"abs_rel": 1 / (number + epoch)}, terms)
            again(
                lambda number=number, record=record: ledger.report(number, Attempt(str(number), 0, {}, HERE), [record])
            )
    assert again(ledger.done)
    states = again(lambda: summarise(store)).states
    again(lease.release)
    trials = again(store.trials)
    return [(states["FAIL"], t.number, t.state, t.values, t.intermediate_values, t.system_attrs) for t in trials]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("storage", ["postgresql"], indirect=True)
def test_a_connection_cut_before_any_statement_changes_nothing(storage, tiny):
    config = load_study(tiny, ["search.trials=3", "train.epochs=2", "search.baselines={}", "search.sampler=random"])
    database = Database(storage, mode="create")
    cut = Cut(database.engine, storage)
    try:
        work(database, "first", config)  # reads the tables' columns, once
        cut.count = 0
        whole = work(database, "whole", config)
        total = cut.count
        assert total > 100
        for at in range(1, total + 1, STRIDE):
            cut.count, cut.at = 0, at
            assert work(database, f"cut {at}", config) == whole, at
            assert cut.count >= at
    finally:
        cut.other.close()
        database.close()
