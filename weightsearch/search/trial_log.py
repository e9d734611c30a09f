"""A trial's own log: what its code prints, from C too, and the traceback of what ended it.

The driver makes `RUN/logs/trial_0007.log` with a first line that names the study and the driver's host; workers append
to it, each attempt under a header. A worker on another host that finds no such file, since the run folder is not
shared, makes its own: then the first line names that host, and so do the messages that point to the log.
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
STREAMS: Final = (1, 2)  # the file descriptors of what is printed


def log_path(run_folder: Path, number: int) -> Path:
    return run_folder / FOLDER / f"trial_{number:04d}.log"


def prepare_log(path: Path, study_uid: str) -> None:
    """Make a trial's log for this host, unless it is there for the study; one of another study is replaced. A disk that
    cannot be written shows itself elsewhere."""
    head = f"weightsearch, study {study_uid}, log made on "
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _first_line(path).startswith(head):
            path.write_text(f"{head}{socket.gethostname()}\n", encoding="utf-8")


def log_seen_from_driver(path: Path, worker_host: str | None) -> str:
    """A log as the driver names it after a worker died. worker_host: where the worker ran, if that is known. The log is
    here if an attempt has written into it; otherwise it lies where the worker ran."""
    try:
        here = f"\n{MARK}" in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        here = False
    return str(path) if here or worker_host is None else f"{worker_host}:{path}"


class TrialLog:
    """A worker's side of a trial's log. driver_host: where the driver runs."""

    def __init__(self, path: Path, study_uid: str, driver_host: str) -> None:
        self.path = path
        self.driver_host = driver_host
        prepare_log(path, study_uid)
        with suppress(OSError):
            attempts = path.read_text(encoding="utf-8", errors="replace").count(f"\n{MARK}")
            when = time.strftime("%Y-%m-%d %H:%M:%S")
            self.note(f"{MARK}{attempts + 1}: {when}, {socket.gethostname()}, process {os.getpid()}")

    @property
    def where(self) -> str:
        """The log as messages name it: with its host, unless it is where the driver can read it."""
        made_on = _first_line(self.path).rpartition(" made on ")[2]
        return str(self.path) if made_on in ("", self.driver_host) else f"{made_on}:{self.path}"

    def note(self, text: str) -> None:
        """Add a line."""
        with suppress(OSError), self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")

    def fault(self, error: BaseException) -> None:
        """Add an exception's traceback, without passwords."""
        self.note(hide("".join(traceback.format_exception(error)).rstrip()))

    @contextmanager
    def captured(self) -> Iterator[None]:
        """While this lasts, whatever the process prints goes into the log, by Python or not. Nothing changes where the
        log cannot be opened."""
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


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline().rstrip("\n")
    except OSError:
        return ""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or none
            stream.flush()
