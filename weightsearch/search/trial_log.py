"""A trial's own log: all output of its code, of compiled code too, and the traceback of the error that ended it.

The driver makes `RUN/logs/trial_0007.log` with a first line that names the study; workers append to it, each attempt
under a header that names the host. The run folder is on a file system that all hosts share (see host.py), so that
the path is right on each of them.
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
    """Make a trial's log, unless the study has made it before; the log of another study is replaced. A disk that cannot
    be written shows itself elsewhere."""
    head = f"weightsearch, study {study_uid}"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _text(path).startswith(head):
            path.write_text(f"{head}\n", encoding="utf-8")


def pointer(path: Path) -> str:
    """The end of a message, `; log: PATH`; empty if no attempt has written into the log, as where a worker could not be
    set up."""
    return f"; log: {path}" if f"\n{MARK}" in _text(path) else ""


class TrialLog:
    """A worker's side of a trial's log, which the driver has made. Without the log's folder nothing is written: the run
    folder is then not shared, and the study stops."""

    def __init__(self, path: Path) -> None:
        self.path = path
        attempts = _text(path).count(f"\n{MARK}")
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        self.note(f"{MARK}{attempts + 1}: {when}, {socket.gethostname()}, process {os.getpid()}")

    def note(self, text: str) -> None:
        """Add a line."""
        with suppress(OSError), self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")

    def fault(self, error: BaseException) -> None:
        """Add an exception's traceback, without passwords."""
        self.note(hide("".join(traceback.format_exception(error)).rstrip()))

    @contextmanager
    def captured(self) -> Iterator[None]:
        """Write all output of the process into the log, of compiled code and of child processes too. Nothing changes
        where the log cannot be opened."""
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
