"""Queue of workers' reports for the database."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from weightsearch.records import EpochRecord, Picture
from weightsearch.search.ledger import Assignment, Ledger
from weightsearch.search.retry import Retry
from weightsearch.study.writer import Attempt

LIMIT: Final = 1000  # most reports queued while the database is unavailable: a few megabytes


@dataclass(frozen=True)
class Report:
    """Epochs of a trial. last: no further report follows. pictures: predictions of the trained network."""

    number: int
    attempt: Attempt
    records: list[EpochRecord]
    last: bool = False
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class WorkerFailure:
    """A worker died or could not continue. failures: number of worker failures of the trial, over all drivers. order:
    order of the replacing worker's attempt; None without a replacement. stops: all other trials would fail, too."""

    number: int
    failures: int
    reason: str
    order: int | None
    stops: bool = False


@dataclass(frozen=True)
class Return:
    """Ray has given up a trial that can continue: it waits to be assigned again."""

    number: int


@dataclass(frozen=True)
class Failure:
    """A trial that cannot continue."""

    number: int
    reason: str


Message = Report | WorkerFailure | Return | Failure


class Outbox:
    """Passes messages to the ledger, in order. While the database is unavailable, messages are queued and the workers
    continue; with more than `limit` messages the caller waits."""

    def __init__(self, ledger: Ledger, retry: Retry, *, limit: int = LIMIT) -> None:
        self.ledger = ledger
        self.retry = retry
        self.limit = limit
        self.waiting: deque[Message] = deque()

    def put(self, message: Message) -> bool:
        """Queue a message and flush. Returns True if its trial is known to have ended."""
        self.waiting.append(message)
        self.flush()
        while len(self.waiting) > self.limit:
            self.retry.pause()
            self.flush()
        return message.number not in self.ledger.running

    def flush(self) -> bool:
        """Pass queued messages to the ledger while the database is available. Returns True if the queue is empty."""
        while self.waiting:
            if not self.retry.try_now(self._hand_over):
                return False
        return True

    def next(self) -> Assignment | None:
        """The ledger's next trial; None without a trial, while messages wait, or if the database is unavailable."""
        results: list[Assignment | None] = []
        if self.flush() and self.retry.try_now(lambda: results.append(self.ledger.next())):
            return results[0]
        return None

    def left(self) -> int:
        """Number of trials to assign; 0 while messages wait or the database is unavailable."""
        results: list[int] = []
        if self.flush() and self.retry.try_now(lambda: results.append(self.ledger.left())):
            return results[0]
        return 0

    def done(self) -> bool:
        """Return True if the queue is empty and every trial of the study has ended."""
        results: list[bool] = []
        return self.flush() and self.retry.try_now(lambda: results.append(self.ledger.done())) and results[0]

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
