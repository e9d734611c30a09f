"""Signals that stop a command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

INTERRUPTED: Final = 130  # exit status after Ctrl-C: 128 + SIGINT, as in shells
SIGNALS: Final = ("SIGTERM", "SIGHUP")  # sent by batch systems and `kill`; sent when a terminal closes


@dataclass
class Stop:
    """A stop of the program. status: exit status, by default after Ctrl-C; changed when another signal arrives."""

    status: int = INTERRUPTED


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt within the block, as Ctrl-C does. The exit status is in the
    yielded Stop, since Ray Tune replaces the exception. Ignored signals stay ignored, as `nohup` requires."""
    noted = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def stop(number: int, _: object) -> None:
        noted.status = 128 + number
        raise KeyboardInterrupt

    available = [signal.Signals[name] for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in available if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
