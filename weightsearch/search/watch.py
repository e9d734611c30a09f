"""Watchdog thread that warns when an answer is missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Final

LOOK_SECONDS: Final = 2.0
JOIN_SECONDS: Final = 5.0
STOPPED_SECONDS: Final = 5.0  # a look delayed by more than this means that the process was suspended


class Watch:
    """Watchdog in its own thread, for code that waits for an answer and cannot warn itself.

    look: called every `pause` seconds; returns True if there was an answer since the last call. away: called from the
    thread, once per silence, with the seconds without an answer when they exceed `seconds`. Time in which this process
    was suspended does not count.
    """

    def __init__(
        self,
        look: Callable[[], bool],
        seconds: float,
        away: Callable[[float], None],
        *,
        pause: float = LOOK_SECONDS,
    ) -> None:
        self.look, self.seconds, self.away, self.pause = look, seconds, away, pause
        self._closed = Event()
        self._thread = Thread(target=self._watch, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(JOIN_SECONDS)

    def _watch(self) -> None:
        looked = answered = time.monotonic()
        told = False
        while not self._closed.wait(self.pause):
            stopped = time.monotonic() - looked > 2 * self.pause + STOPPED_SECONDS
            if self.look() or stopped:
                answered, told = time.monotonic(), False
            looked = time.monotonic()
            silent = looked - answered
            if silent >= self.seconds and not told:
                told = True
                self.away(silent)
