"""The queue of workers' reports on their way into the database."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from weightsearch.records import EpochRecord, Picture
from weightsearch.search.ledger import Assignment, Ledger
from weightsearch.search.retry import Retry
from weightsearch.study.writer import Attempt

LIMIT: Final = 1000  # reports kept while the database is away: a few megabytes


@dataclass(frozen=True)
class Report:
    """Epochs of a trial. last: its worker has nothing more to say. pictures: of what the trained network predicts."""

    number: int
    attempt: Attempt
    records: list[EpochRecord]
    last: bool = False
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class WorkerFailure:
    """A worker died or could not go on. failures: of the trial's workers, under all drivers. order: of the attempt of
    the worker that takes its place; None if none does. stops: the reason will end every other trial too."""

    number: int
    failures: int
    reason: str
    order: int | None
    stops: bool = False


@dataclass(frozen=True)
class Return:
    """Ray has given up a trial that may go on: it waits to be handed out anew."""

    number: int


@dataclass(frozen=True)
class Failure:
    """A trial that cannot go on."""

    number: int
    reason: str


Message = Report | WorkerFailure | Return | Failure


class Outbox:
    """Hands messages to the ledger, one after another. While the database is away they wait here in their order and the
    workers go on; past `limit` the caller waits too."""

    def __init__(self, ledger: Ledger, retry: Retry, *, limit: int = LIMIT) -> None:
        self.ledger = ledger
        self.retry = retry
        self.limit = limit
        self.waiting: deque[Message] = deque()

    def put(self, message: Message) -> bool:
        """Take a message. True if its trial is known to have ended."""
        self.waiting.append(message)
        self.flush()
        while len(self.waiting) > self.limit:
            self.retry.pause()
            self.flush()
        return message.number not in self.ledger.running

    def flush(self) -> bool:
        """Hand over what waits, as far as the database takes it. True if nothing waits any more."""
        while self.waiting:
            if not self.retry.try_now(self._hand_over):
                return False
        return True

    def next(self) -> Assignment | None:
        """The ledger's next trial, once nothing waits; None if there is none, or the database is away."""
        found: list[Assignment | None] = []
        if self.flush() and self.retry.try_now(lambda: found.append(self.ledger.next())):
            return found[0]
        return None

    def left(self) -> int:
        """The number of trials to hand out; 0 while messages wait or the database is away."""
        found: list[int] = []
        if self.flush() and self.retry.try_now(lambda: found.append(self.ledger.left())):
            return found[0]
        return 0

    def done(self) -> bool:
        """Nothing waits, and every trial of the study has ended."""
        found: list[bool] = []
        return self.flush() and self.retry.try_now(lambda: found.append(self.ledger.done())) and found[0]

    def _hand_over(self) -> None:
        message = self.waiting[0]
        if isinstance(message, Report):
            self.ledger.report(
                message.number, message.attempt, message.records, last=message.last, pictures=message.pictures
            )
        elif isinstance(message, Failure):
            self.ledger.fail(message.number, message.reason)
        elif isinstance(message, Return):
            self.ledger.give_back(message.number)
        elif message.stops:
            self.ledger.stop(message.number, message.reason)
        else:
            self.ledger.worker_failed(message.number, message.failures, message.reason, message.order)
        self.waiting.popleft()
