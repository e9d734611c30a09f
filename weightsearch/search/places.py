"""Places on the cluster (resources of one trial): places that this driver holds, requests and gives up."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

LOOK_SECONDS: Final = 2.0  # between checks of waiting jobs; each check gives up at most one place
HOLD_SECONDS: Final = 60.0  # minimum time that a driver keeps its only place: workers start slowly
PATIENCE_SECONDS: Final = 20.0  # a job that has not taken its places by then waits for something else


@dataclass(frozen=True)
class Request:
    """A placement group that a job on the cluster holds (granted) or waits for. size: number of this driver's places
    that it needs, rounded up. fits: whether places of this driver can serve it."""

    key: str
    job: str
    granted: bool
    size: int
    fits: bool = True


class Broker(Protocol):
    """Grants places: Ray, or its replacement in simulations. job: this driver's key among the jobs."""

    job: str

    def ask(self) -> Any:
        """Request a place; returns a ticket at once."""

    def granted(self, tickets: Iterable[Any]) -> list[Any]:
        """Tickets for which a place has been granted."""

    def withdraw(self, ticket: Any) -> None:
        """Return a ticket and its place, if granted."""

    def requests(self) -> list[Request]:
        """Requests of all jobs on the cluster."""


class Places:
    """Places that a driver has requested and no worker uses yet, and the rule by which drivers share a cluster.

    At the end of a trial, a driver gives up a place if the waiting job would still not have more places than the
    driver, or if the waiting job has no place. A job is any program that requests placement groups from Ray: a driver
    of this or another study, or any other program that uses Ray Tune.
    """

    def __init__(self, broker: Broker, clock: Callable[[], float] = time.monotonic) -> None:
        self.broker = broker
        self.clock = clock
        self.asked: list[Any] = []
        self.spare: list[Any] = []
        self._looked = -math.inf
        self._favoured: Request | None = None  # gets the next place of this driver
        self._may_give = False
        self._held_since: float | None = None
        self._given: Counter[str] = Counter()
        self._given_at: dict[str, float] = {}

    def refresh(self) -> int:
        """Update and return the number of places that wait for a worker."""
        if self.asked:
            for ticket in self.broker.granted(self.asked):
                self.asked.remove(ticket)
                self.spare.append(ticket)
                self._held_since = self.clock() if self._held_since is None else self._held_since
        return len(self.spare)

    def want(self, number: int) -> None:
        """Adjust the number of tickets: request more, or return the surplus. Nothing is requested while another job has
        the right to the next place."""
        while len(self.asked) + len(self.spare) > max(0, number):
            self.broker.withdraw((self.asked or self.spare).pop())
        if len(self.asked) + len(self.spare) < number and not self.others_first():
            self.asked += [self.broker.ask() for _ in range(number - len(self.asked) - len(self.spare))]

    def take(self) -> Any | None:
        """Take a place for a worker; None if no place is free."""
        return self.spare.pop(0) if self.spare else None

    def others_first(self) -> bool:
        """Return True if another job has the right to the next place."""
        if self.clock() - self._looked >= LOOK_SECONDS:
            self._look()
        return self._favoured is not None

    def give_one(self) -> bool:
        """Return True if the place that has just become free goes to another job. The caller returns the place."""
        if not self.others_first() or not self._may_give or self._favoured is None:
            return False
        self._may_give = False
        while self.asked:  # an older request of this driver would take the place back
            self.broker.withdraw(self.asked.pop())
        self._given[self._favoured.key] += 1
        self._given_at[self._favoured.key] = self.clock()
        return True

    def _look(self) -> None:
        now = self._looked = self.clock()
        requests = self.broker.requests()
        held: Counter[str] = Counter()
        for request in requests:
            held[request.job] += request.size * request.granted
        mine = held[self.broker.job]
        if mine == 0:
            self._held_since = None
        elif self._held_since is None:
            self._held_since = now
        waiting = {request.key for request in requests if not request.granted}
        for key in self._given.keys() - waiting:
            del self._given[key], self._given_at[key]
        rightful = [request for request in requests if self._comes_first(request, held, mine, now)]
        self._favoured = min(rightful, key=lambda request: held[request.job], default=None)
        self._may_give = self._favoured is not None and self._given[self._favoured.key] < self._favoured.size

    def _comes_first(self, request: Request, held: Counter[str], mine: int, now: float) -> bool:
        """Return True if this request has the right to the driver's next place."""
        if request.granted or not request.fits or request.job == self.broker.job:
            return False
        given = self._given[request.key]
        if given >= request.size and now - self._given_at[request.key] > PATIENCE_SECONDS:
            return False
        theirs = held[request.job]
        if mine + given - request.size >= theirs + request.size:
            return True
        long = given > 0 or (self._held_since is not None and now - self._held_since >= HOLD_SECONDS)
        return theirs == 0 and long and mine + given >= request.size
