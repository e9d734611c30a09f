"""A thread that warns when something does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Final

LOOK_SECONDS: Final = 2.0
JOIN_SECONDS: Final = 5.0
STOPPED_SECONDS: Final = 5.0  # a later look than that means that the process was stopped


class Watch:
    """Looks every LOOK_SECONDS, in a thread of its own: what waits for an answer cannot warn that none comes.

    look: true if there was an answer since the last look. away: called from that thread, once in each silence, with the
    seconds without an answer when they exceed `seconds`. A time in which this process did not run is no silence.
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
