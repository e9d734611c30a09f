"""Leases: a driver's right to write its trials of a study, while it is alive."""

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
BEATS: Final = 4  # renewals per lease duration

drivers = tables.drivers


@dataclass(frozen=True)
class Holder:
    """A driver that holds a lease. silent, left: seconds since its last heartbeat and until its lease ends."""

    driver_id: str
    process: Process
    silent: float
    left: float

    @property
    def is_dead(self) -> bool:
        """True if the lease has ended or the process is gone, as far as this machine can tell."""
        return self.left <= 0 or self.process.is_gone()

    def __str__(self) -> str:
        return f"{self.process.owner} (process {self.process.pid}, last heard {max(0.0, self.silent):.0f} s ago)"


class Lease:
    """A driver's row in the database, with a time at which it ends unless it is renewed.

    A driver that finds a lease that has ended, or whose process is gone, deletes it and sets its trials to WAITING, in
    one transaction: each trial is taken over exactly once. While the row exists, the trials belong to its driver,
    however late it renews; once the row is deleted, `check` refuses all writes. After an outage of the database,
    running drivers have one lease duration to renew their leases before another running driver takes over; only a
    driver that starts at that moment cannot know that there was an outage.
    """

    def __init__(self, store: StudyStore, seconds: float = LEASE_SECONDS) -> None:
        self.store = store
        self.seconds = seconds
        self.driver_id = uuid.uuid4().hex
        self.answers = 0  # renewals by `heartbeat` that have ended, including failed ones
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
        """Take a lease on the study, and the trials of dead drivers. join: allow other live drivers; otherwise they
        raise StudyHeld."""
        lease = cls(store, seconds)
        with store.database.writing() as connection:
            store.lock(connection)
            reclaim(store, connection)
            others = holders(store, connection)
            if others and not join:
                who = " and ".join(map(str, others))
                raise StudyHeld(
                    f"the study {store.study.study_name!r} is being run by {who}; "
                    f"to work beside it, add --join; if that process is dead, try again in {others[-1].left:.0f} s"
                )
            lease._insert(connection, process or Process.current())
        return lease

    def check(self, connection: sa.Connection) -> None:
        """Renew the lease within a transaction. Raises StudyHeld if another driver took over."""
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
        """If this lease has ended, extend the other leases that ended after its last renewal: the database may have
        been unavailable, so that no driver could renew its lease."""
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
        """End the lease; set its remaining trials to WAITING, for the next driver."""
        with self.store.database.writing() as connection:
            self.store.lock(connection)
            self._allow_for_an_outage(connection)
            connection.execute(sa.delete(drivers).where(drivers.c.driver_id == self.driver_id))
            reclaim(self.store, connection)

    @contextmanager
    def heartbeat(self) -> Iterator[None]:
        """Renew the lease in a background thread."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self.seconds / BEATS):
                try:
                    self.renew()
                except StudyHeld:
                    self.lost = True
                    return  # the next write raises in `check`
                except StoreError:
                    pass  # the database may be back before another driver takes over
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
    """Drivers that hold a lease on the study, in the order in which the leases end."""
    now = store.database.now()
    columns = (drivers.c.driver_id, drivers.c.process, now - drivers.c.heartbeat, drivers.c.expires - now)
    query = sa.select(*columns).where(drivers.c.study_id == store.study_id).order_by(drivers.c.expires)
    return [Holder(row[0], Process.from_plain(row[1]), row[2], row[3]) for row in connection.execute(query)]


def living(store: StudyStore, connection: sa.Connection) -> list[Holder]:
    """Drivers that run the study now, as far as this machine can tell."""
    return [holder for holder in holders(store, connection) if not holder.is_dead]


def reclaim(store: StudyStore, connection: sa.Connection) -> list[int]:
    """Delete the leases of dead drivers, and set RUNNING trials without a driver to WAITING. The caller has locked the
    study. Returns the trials' numbers."""
    dead = [holder.driver_id for holder in holders(store, connection) if holder.is_dead]
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
