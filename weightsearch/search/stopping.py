"""Signals that stop a command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

INTERRUPTED: Final = 130  # the exit status after Ctrl-C: 128 + SIGINT, as shells have it
SIGNALS: Final = ("SIGTERM", "SIGHUP")  # of batch systems and `kill`; of a terminal that is closed


@dataclass
class Stop:
    """status: the exit status of a program that was stopped now, by Ctrl-C unless a signal has come."""

    status: int = INTERRUPTED


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Let SIGTERM and SIGHUP stop the block inside as Ctrl-C does: they raise KeyboardInterrupt. The exit status is not
    in the exception, since Ray Tune raises another. Signals that are ignored stay ignored, as `nohup` asks for."""
    noted = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def stop(number: int, _: object) -> None:
        noted.status = 128 + number
        raise KeyboardInterrupt

    known = [signal.Signals[name] for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in known if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
