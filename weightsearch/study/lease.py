"""The right to write a study's trials: one driver's, for as long as it lives."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from optuna.trial import TrialState

from weightsearch.errors import StoreError, StudyHeld
from weightsearch.study import tables
from weightsearch.study.process import Process
from weightsearch.study.store import StudyStore

LEASE_SECONDS: Final = 30.0
BEATS: Final = 4  # renewals in the time that a lease lasts

drivers = tables.drivers


@dataclass(frozen=True)
class Holder:
    """A driver that holds a lease. silent, left: seconds since it was last heard and until its lease ends."""

    driver_id: str
    process: Process
    silent: float
    left: float

    @property
    def is_dead(self) -> bool:
        """As far as this machine can tell."""
        return self.left <= 0 or self.process.is_gone()

    def __str__(self) -> str:
        return f"{self.process.owner} (process {self.process.pid}, last heard {max(0.0, self.silent):.0f} s ago)"


class Lease:
    """A driver's row in the database, with a time at which it ends unless it is renewed.

    Whoever finds a lease that has ended, or whose process is gone, deletes it and lets its trials wait, in one
    transaction: each is taken over exactly once. As long as the row stands its trials are the driver's own, however
    late it comes; once it is gone, `check` lets the driver write nothing more. After an outage of the database the
    drivers that were running have the time of a lease to renew theirs, before one of them takes over another; only a
    driver that starts just then cannot tell that there was an outage.
    """

    def __init__(self, store: StudyStore, seconds: float = LEASE_SECONDS) -> None:
        self.store = store
        self.seconds = seconds
        self.driver_id = uuid.uuid4().hex
        self.answers = 0  # the tries of `kept` to renew it that have ended, with an error too
        self.lost = False

    @classmethod
    def take(
        cls,
        store: StudyStore,
        *,
        join: bool = False,
        seconds: float = LEASE_SECONDS,
        process: Process | None = None,
    ) -> Lease:
        """Take a lease on the study; take over what dead drivers left. join: beside drivers that live. Raises StudyHeld
        if there are such and `join` is not set."""
        lease = cls(store, seconds)
        with store.database.writing() as connection:
            store.lock(connection)
            reclaim(store, connection)
            others = holders(store, connection)
            if others and not join:
                who = " and ".join(map(str, others))
                raise StudyHeld(
                    f"the study {store.study.study_name!r} is being run by {who}; "
                    f"work beside it with --join, or wait: if it is dead, its lease ends in {others[-1].left:.0f} s"
                )
            lease._insert(connection, process or Process.current())
        return lease

    def check(self, connection: sa.Connection) -> None:
        """Renew within a transaction. Raises StudyHeld if another driver took over."""
        if self._renewed(connection, drivers.c.expires > self.store.database.now()):
            return
        self.store.lock(connection)
        self._allow_for_an_outage(connection)
        if not self._renewed(connection):
            raise StudyHeld(
                f"another driver took over the study {self.store.study.study_name!r}: this one was not heard of for "
                f"{self.seconds:.0f} s; what it had trained is not lost; work beside the other driver with: "
                f"{self.store.how_to_go_on()}{'' if self.store.joined else ' --join'}"
            )

    def _renewed(self, connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> bool:
        now = self.store.database.now()
        mine = drivers.c.driver_id == self.driver_id
        renewed = sa.update(drivers).where(mine, *conditions).values(heartbeat=now, expires=now + self.seconds)
        return connection.execute(renewed).rowcount == 1

    def _allow_for_an_outage(self, connection: sa.Connection) -> None:
        """If this lease has ended, let the others that ended after its last renewal last anew: while its driver lived,
        the database may have been away, and then no driver could renew its own."""
        now = self.store.database.now()
        ended = (drivers.c.driver_id == self.driver_id, drivers.c.expires <= now)
        last = connection.scalar(sa.select(drivers.c.heartbeat).where(*ended))
        if last is not None:
            others = (drivers.c.study_id == self.store.study_id, drivers.c.expires >= last, drivers.c.expires <= now)
            connection.execute(sa.update(drivers).where(*others).values(expires=now + self.seconds))

    def renew(self) -> None:
        with self.store.database.writing() as connection:
            self.check(connection)

    def release(self) -> None:
        """End the lease; trials that it still has wait for the next driver."""
        with self.store.database.writing() as connection:
            self.store.lock(connection)
            self._allow_for_an_outage(connection)
            connection.execute(sa.delete(drivers).where(drivers.c.driver_id == self.driver_id))
            reclaim(self.store, connection)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew it from a thread of its own, whatever this one does meanwhile."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self.seconds / BEATS):
                try:
                    self.renew()
                except StudyHeld:
                    self.lost = True
                    return  # `check` says so to whoever writes next
                except StoreError:
                    pass  # the database may come back before the lease is anybody else's
                self.answers += 1

        thread = threading.Thread(target=beat, name="weightsearch-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(timeout=self.seconds)

    def _insert(self, connection: sa.Connection, process: Process) -> None:
        now = self.store.database.now()
        connection.execute(
            sa.insert(drivers).values(
                driver_id=self.driver_id,
                study_id=self.store.study_id,
                owner=process.owner,
                process=process.to_plain(),
                started=now,
                heartbeat=now,
                expires=now + self.seconds,
            )
        )


def holders(store: StudyStore, connection: sa.Connection) -> list[Holder]:
    """The drivers that hold a lease on the study, in the order in which they end."""
    now = store.database.now()
    columns = (drivers.c.driver_id, drivers.c.process, now - drivers.c.heartbeat, drivers.c.expires - now)
    query = sa.select(*columns).where(drivers.c.study_id == store.study_id).order_by(drivers.c.expires)
    return [Holder(row[0], Process.from_plain(row[1]), row[2], row[3]) for row in connection.execute(query)]


def living(store: StudyStore, connection: sa.Connection) -> list[Holder]:
    """The drivers that run the study now, as far as this machine can tell."""
    return [one for one in holders(store, connection) if not one.is_dead]


def reclaim(store: StudyStore, connection: sa.Connection) -> list[int]:
    """Delete the leases of dead drivers and let the trials that nobody has any more wait. The study is locked by the
    caller. Returns the trials' numbers."""
    dead = [one.driver_id for one in holders(store, connection) if one.is_dead]
    if dead:
        connection.execute(sa.delete(drivers).where(drivers.c.driver_id.in_(dead)))
    running = {row.trial_id: row.number for row in store.states() if row.state == TrialState.RUNNING}
    if not running:
        return []
    assigned = tables.assignments
    living = sa.select(drivers.c.driver_id).where(drivers.c.study_id == store.study_id)
    owned = sa.select(assigned.c.trial_id).where(assigned.c.trial_id.in_(running), assigned.c.driver_id.in_(living))
    orphans = sorted(running.keys() - set(connection.scalars(owned)))
    for trial_id in orphans:
        store.storage.set_trial_state_values(trial_id, TrialState.WAITING)
    return [running[trial_id] for trial_id in orphans]
