"""When a driver takes a trial of the study: when it has a place for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from weightsearch.search.ledger import Assignment
from weightsearch.search.outbox import Outbox
from weightsearch.search.places import Places


class Workers(Protocol):
    """What Ray Tune knows of this driver's workers."""

    def idle(self) -> int:
        """Workers that have no trial."""

    def unplaced(self) -> int:
        """Trials that wait for a place or an idle worker."""

    def busy(self) -> bool:
        """Whether a trial runs, or waits for its worker."""

    def release(self) -> None:
        """Stop the idle workers and give back their places."""


class Claims:
    """Takes trials one at a time, at most `slots()` at once, each for an idle worker or a place that is free. What is
    claimed can therefore begin at once, and no driver keeps a trial that another one could train. due: whether it is
    time to look again whether there is something to train."""

    def __init__(self, outbox: Outbox, places: Places, slots: Callable[[], int], due: Callable[[], bool]) -> None:
        self.outbox = outbox
        self.ledger = outbox.ledger
        self.places = places
        self.slots = slots
        self.due = due
        self._look = True  # at the next occasion, whatever the time

    def next(self, workers: Workers) -> Assignment | None:
        """A trial for a place that is there; None if there is no place, or no trial."""
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
        """Whether a driver without workers has a place and, as far as it knows, a trial for it."""
        self.outbox.flush()
        self._ask()
        return self.places.refresh() > 0

    def _has_place(self, workers: Workers) -> bool:
        """Whether a worker or a place is free. One that another job has a right to is given up; an idle worker is then
        released, since no trial is claimed for it."""
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
        """Ask for as many places as there are trials for, as far as the cluster has them. claimed: trials that have not
        taken their places yet; these are kept."""
        if self._look or self.due():
            self._look = False
            kept = min(claimed, self.places.refresh())
            self.places.want(kept + min(self.outbox.left(), self.slots() - len(self.ledger.running)))
