"""Log of a trial: all output of its code, including compiled code, and the traceback of the error that ended it.

The driver creates `RUN/logs/trial_0007.log` with a first line that names the study; workers append to it, each attempt
under a header that names the host. All hosts share the run folder (see host.py), so that the path is valid on each.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from weightsearch.errors import hide

FOLDER: Final = "logs"
MARK: Final = "=== attempt "
STREAMS: Final = (1, 2)  # the file descriptors of standard output and standard error


def log_path(run_folder: Path, number: int) -> Path:
    return run_folder / FOLDER / f"trial_{number:04d}.log"


def prepare_log(path: Path, study_uid: str) -> None:
    """Create a trial's log unless it exists; a log of another study is replaced. Write errors are ignored: they are
    reported elsewhere."""
    head = f"weightsearch, study {study_uid}"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _text(path).startswith(head):
            path.write_text(f"{head}\n", encoding="utf-8")


def pointer(path: Path) -> str:
    """End of a message, `; log: PATH`; empty if no attempt has written to the log, for example because the worker could
    not be set up."""
    return f"; log: {path}" if f"\n{MARK}" in _text(path) else ""


class TrialLog:
    """Writer of a trial's log in the worker. Without the log's folder nothing is written: the run folder is not shared
    then, and the study stops."""

    def __init__(self, path: Path) -> None:
        self.path = path
        attempts = _text(path).count(f"\n{MARK}")
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        self.note(f"{MARK}{attempts + 1}: {when}, {socket.gethostname()}, process {os.getpid()}")

    def note(self, text: str) -> None:
        """Append a line."""
        with suppress(OSError), self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")

    def fault(self, error: BaseException) -> None:
        """Append an exception's traceback, without passwords."""
        self.note(hide("".join(traceback.format_exception(error)).rstrip()))

    @contextmanager
    def captured(self) -> Iterator[None]:
        """Redirect all output of the process to the log, including compiled code and child processes. Does nothing if
        the log cannot be opened."""
        try:
            log = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError:
            yield
            return
        _flush()
        before = [os.dup(stream) for stream in STREAMS]
        for stream in STREAMS:
            os.dup2(log, stream)
        try:
            with (
                os.fdopen(log, "w", buffering=1, encoding="utf-8", errors="backslashreplace") as file,
                contextlib.redirect_stdout(file),
                contextlib.redirect_stderr(file),
            ):
                yield
        finally:
            _flush()
            for stream, old in zip(STREAMS, before, strict=True):
                os.dup2(old, stream)
                os.close(old)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or none
            stream.flush()
