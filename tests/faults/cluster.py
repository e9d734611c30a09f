"""Stand-ins for a Ray cluster that jobs share, and for Ray Tune's handling of workers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from weightsearch.search.places import Places, Request


@dataclass(eq=False)
class Ticket:
    """A request for a place. size: in places."""

    job: str
    number: int
    size: int = 1
    granted: bool = False


class SharedCluster:
    """So many places; requests are granted in their order, and one that does not fit lets others pass, as in Ray."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.tickets: list[Ticket] = []
        self.count = 0

    def ask(self, job: str, size: int = 1) -> Ticket:
        self.count += 1
        self.tickets.append(Ticket(job, self.count, size))
        self._grant()
        return self.tickets[-1]

    def give_back(self, ticket: Ticket) -> None:
        if ticket in self.tickets:
            self.tickets.remove(ticket)
        self._grant()

    def leave(self, job: str) -> None:
        """A job's process ends: Ray removes what it asked for."""
        self.tickets = [ticket for ticket in self.tickets if ticket.job != job]
        self._grant()

    def held(self, job: str) -> int:
        return sum(ticket.size for ticket in self.tickets if ticket.job == job and ticket.granted)

    def _grant(self) -> None:
        free = self.places - sum(ticket.size for ticket in self.tickets if ticket.granted)
        for ticket in self.tickets:
            if not ticket.granted and ticket.size <= free:
                ticket.granted = True
                free -= ticket.size


@dataclass
class SharedBroker:
    """A driver's connection to the cluster."""

    cluster: SharedCluster
    job: str

    def ask(self) -> Ticket:
        return self.cluster.ask(self.job)

    def granted(self, tickets: Iterable[Ticket]) -> list[Ticket]:
        return [ticket for ticket in tickets if ticket.granted]

    def withdraw(self, ticket: Ticket) -> None:
        self.cluster.give_back(ticket)

    def requests(self) -> list[Request]:
        return [Request(str(one.number), one.job, one.granted, one.size) for one in self.cluster.tickets]


@dataclass
class TuneStandIn:
    """The workers of one round of Ray Tune. Like Ray Tune's, a worker whose trial has ended is kept with its place if
    no other is kept; it is given up only by `release` and at the round's end. trials: those that have not ended, each
    with `place`, a ticket. status: PENDING until the place is granted."""

    places: Places
    broker: SharedBroker
    trials: list[Any] = field(default_factory=list)
    kept: list[Ticket] = field(default_factory=list)
    controller: Any = None

    def idle(self) -> int:
        return len(self.kept)

    def unplaced(self) -> int:
        return sum(not self.has_place(trial) for trial in self.waiting())

    def busy(self) -> bool:
        return bool(self.trials)

    def waiting(self) -> list[Any]:
        return [trial for trial in self.trials if trial.status == "PENDING"]

    def has_place(self, trial: Any) -> bool:
        return trial.place is not None and trial.place.granted

    def release(self) -> None:
        while self.kept:
            self.broker.withdraw(self.kept.pop())

    def start(self, chosen: Any | None) -> list[Any]:
        """Give waiting trials their places, as Ray Tune does. Returns the trials that begin."""
        waiting = self.waiting()
        if chosen is not None:
            waiting.sort(key=lambda trial: trial is not chosen)
        for trial in waiting:
            if self.kept and not self.has_place(trial):
                if trial.place is not None:
                    self.broker.withdraw(trial.place)
                trial.place = self.kept.pop()
            elif trial.place is None:
                trial.place = self.places.take() or self.broker.ask()
        begin = [trial for trial in waiting if self.has_place(trial)]
        for trial in begin:
            trial.status = "RUNNING"
        return begin

    def end(self, trial: Any) -> None:
        """A trial has ended; its worker, if it had one, lives."""
        self.trials.remove(trial)
        if not self.has_place(trial) or (self.kept and not self.waiting()):
            self.broker.withdraw(trial.place)
        else:
            self.kept.append(trial.place)

    def lose(self, trial: Any) -> None:
        """A trial's worker is gone, and Ray Tune gives back its place."""
        if trial.place is not None:
            self.broker.withdraw(trial.place)
        trial.place = None
        trial.status = "PENDING"
