"""Retries, with a message, while the database is unavailable."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from weightsearch.errors import StoreUnavailable
from weightsearch.search.ledger import Event, Listener

FIRST_WAIT: Final = 0.5  # seconds until the next try; doubled each time
LONGEST_WAIT: Final = 30.0

Result = TypeVar("Result")


class Retry:
    """Retries actions on the database after 0.5 s, 1 s, 2 s, ... 30 s. Tells the listener when the database becomes
    unavailable and available again."""

    def __init__(
        self,
        listener: Listener,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.listener = listener
        self.clock = clock
        self.sleep = sleep
        self._reason = ""
        self._wait = 0.0  # until the next try; 0 while the database answers
        self._next_try = 0.0

    def try_now(self, action: Callable[[], object]) -> bool:
        """Try a repeatable action. Returns True if it succeeded, False while the database is unavailable."""
        if self._wait and self.clock() < self._next_try:
            return False
        try:
            action()
        except StoreUnavailable as error:
            if self._reason != str(error):
                self._reason = str(error)
                self.listener(Event("waiting", reason=self._reason))
            self._wait = min(LONGEST_WAIT, 2 * self._wait or FIRST_WAIT)
            self._next_try = self.clock() + self._wait
            return False
        if self._wait:
            self._wait, self._reason = 0.0, ""
            self.listener(Event("back"))
        return True

    def pause(self) -> None:
        """Sleep until it is time to try again."""
        self.sleep(max(0.0, self._next_try - self.clock()))

    def insist(self, action: Callable[[], Result]) -> Result:
        """Retry an action until it succeeds, and return its result."""
        results: list[Result] = []
        while not self.try_now(lambda: results.append(action())):
            self.pause()
        return results[0]
