"""Signals that stop a command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

INTERRUPTED: Final = 130  # the exit status after Ctrl-C: 128 + SIGINT, as shells have it
SIGNALS: Final = ("SIGTERM", "SIGHUP")  # of batch systems and `kill`; of a terminal that is closed


def exit_status(stop: KeyboardInterrupt) -> int:
    """The exit status of a program that Ctrl-C, SIGTERM or SIGHUP stopped."""
    return stop.args[0] if stop.args else INTERRUPTED


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP stop the block inside as Ctrl-C does: they raise KeyboardInterrupt, with the exit status
    that belongs to the signal. Signals that are ignored stay ignored, as `nohup` asks for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt(128 + number)

    known = [signal.Signals[name] for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in known if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
