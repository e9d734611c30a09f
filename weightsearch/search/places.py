"""Places on the cluster: those that this driver holds, asks for, and leaves to other jobs."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

LOOK_SECONDS: Final = 2.0  # between two looks at the waiting jobs; at each look at most one place is given up
HOLD_SECONDS: Final = 60.0  # a driver keeps its only place so long: a new worker takes seconds to start
PATIENCE_SECONDS: Final = 20.0  # a job that has not taken the places given up for it by then waits for something else


@dataclass(frozen=True)
class Request:
    """A placement group that a job on the cluster holds (granted) or waits for. size: in places of this driver, rounded
    up. fits: places of this driver would serve it."""

    key: str
    job: str
    granted: bool
    size: int
    fits: bool = True


class Broker(Protocol):
    """Grants places: Ray, or its stand-in in the simulation. job: this driver's key among the jobs."""

    job: str

    def ask(self) -> Any:
        """Ask for one more place; returns at once, with a ticket."""

    def granted(self, tickets: Iterable[Any]) -> list[Any]:
        """The tickets that have been granted a place."""

    def withdraw(self, ticket: Any) -> None:
        """Give a ticket back, and the place that it may have."""

    def requests(self) -> list[Request]:
        """The requests of all jobs of the cluster."""


class Places:
    """The places that a driver has asked for and no worker uses yet, and the rule by which drivers share a cluster.

    A driver gives up a place at the end of a trial if a waiting job would still have no more places than the driver,
    or if the waiting job has none. A job is any program that asks Ray for placement groups: a driver of this study or
    of another study, or any other program that uses Ray Tune.
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
        """The number of places that wait for a worker."""
        if self.asked:
            for ticket in self.broker.granted(self.asked):
                self.asked.remove(ticket)
                self.spare.append(ticket)
                self._held_since = self.clock() if self._held_since is None else self._held_since
        return len(self.spare)

    def want(self, number: int) -> None:
        """Have so many tickets: ask for more, or give the surplus back. Nothing is asked for while another job has the
        right to the next place."""
        while len(self.asked) + len(self.spare) > max(0, number):
            self.broker.withdraw((self.asked or self.spare).pop())
        if len(self.asked) + len(self.spare) < number and not self.others_first():
            self.asked += [self.broker.ask() for _ in range(number - len(self.asked) - len(self.spare))]

    def take(self) -> Any | None:
        """A place for a worker; None if none is left."""
        return self.spare.pop(0) if self.spare else None

    def others_first(self) -> bool:
        """True if another job has the right to the next place."""
        if self.clock() - self._looked >= LOOK_SECONDS:
            self._look()
        return self._favoured is not None

    def give_one(self) -> bool:
        """True if the place that has just become free goes to another job. The caller gives it back."""
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
        rightful = [one for one in requests if self._comes_first(one, held, mine, now)]
        self._favoured = min(rightful, key=lambda one: held[one.job], default=None)
        self._may_give = self._favoured is not None and self._given[self._favoured.key] < self._favoured.size

    def _comes_first(self, request: Request, held: Counter[str], mine: int, now: float) -> bool:
        """True if the next place of this driver is for this request."""
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
