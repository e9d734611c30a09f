"""A thread that warns when something does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Final

LOOK_SECONDS: Final = 2.0
JOIN_SECONDS: Final = 5.0


class Watch:
    """Looks every LOOK_SECONDS, in a thread of its own: what waits for an answer cannot warn that none comes.

    look: true if there was an answer since the last look. away: called once with the seconds without an answer, when
    they exceed `seconds`. back: called at the first answer after that.
    """

    def __init__(
        self,
        look: Callable[[], bool],
        seconds: float,
        away: Callable[[float], None],
        back: Callable[[], None] = lambda: None,
        *,
        pause: float = LOOK_SECONDS,
    ) -> None:
        self.look, self.seconds, self.away, self.back, self.pause = look, seconds, away, back, pause
        self._closed = Event()
        self._thread = Thread(target=self._watch, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(JOIN_SECONDS)

    def _watch(self) -> None:
        answered, told = time.monotonic(), False
        while not self._closed.wait(self.pause):
            if self.look():
                answered = time.monotonic()
                if told:
                    told = False
                    self.back()
            silent = time.monotonic() - answered
            if silent >= self.seconds and not told:
                told = True
                self.away(silent)
