"""Claiming of trials: a driver takes a trial only when it has a place for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from weightsearch.search.ledger import Assignment
from weightsearch.search.outbox import Outbox
from weightsearch.search.places import Places


class Workers(Protocol):
    """This driver's workers in Ray Tune."""

    def idle(self) -> int:
        """Number of workers without a trial."""

    def unplaced(self) -> int:
        """Number of trials that wait for a place or an idle worker."""

    def busy(self) -> bool:
        """Return True if a trial runs or waits for its worker."""

    def release(self) -> None:
        """Stop idle workers and return their places."""


class Claims:
    """Claims trials one at a time, at most `slots()` at once, each for an idle worker or a free place. A claimed trial
    can therefore start immediately, and no driver holds a trial that another driver could train. due: returns True if
    the number of remaining trials should be read again from the database."""

    def __init__(self, outbox: Outbox, places: Places, slots: Callable[[], int], due: Callable[[], bool]) -> None:
        self.outbox = outbox
        self.ledger = outbox.ledger
        self.places = places
        self.slots = slots
        self.due = due
        self._look = True  # ask at the next call, even if it is not due

    def next(self, workers: Workers) -> Assignment | None:
        """Claim a trial for a free place; None without a place or without a trial."""
        self.outbox.flush()
        if len(self.ledger.running) < self.slots() and self._has_place(workers):
            self._look = True
            assignment = self.outbox.next()
            if assignment is None:
                self._look = False
                self.places.want(0)
            return assignment
        self._ask(claimed=workers.unplaced())
        return None

    def ready(self) -> bool:
        """Return True if a driver without workers has a place and, by its last count, a trial for it."""
        self.outbox.flush()
        self._ask()
        return self.places.refresh() > 0

    def _has_place(self, workers: Workers) -> bool:
        """Return True if a worker or a place is free. A place that is due to another job is given up: its idle worker
        is released, since no trial is claimed for it."""
        spare = self.places.refresh()
        idle = workers.idle()
        if spare + idle > 0 and self.places.give_one():
            if spare:
                self.places.want(len(self.places.asked) + spare - 1)
                spare -= 1
            else:
                idle -= 1
        return spare + idle - workers.unplaced() > 0

    def _ask(self, claimed: int = 0) -> None:
        """Request a place for each remaining trial, at most as many as the cluster has. claimed: number of claimed
        trials that have not used their places yet; these places are kept."""
        if self._look or self.due():
            self._look = False
            pending = min(claimed, self.places.refresh())
            self.places.want(pending + min(self.outbox.left(), self.slots() - len(self.ledger.running)))
