"""Errors that a user can fix."""

from __future__ import annotations

import math
import os
import re
import shlex
import sysconfig
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Passwords: in a URL from the first colon after the user to the last @, with spaces or without; to the end of the word
# if there is neither an @ nor a port; and in an option.
PASSWORDS: Final = (
    (re.compile(r"(:/{1,2}[^:/@\s\[]*):(?!\*\*\*@|\$\{\w+\}@)[^\n]{1,200}(?=@)"), r"\1:***"),
    (re.compile(r"(://[^:/@\s\[]*):(?!\*\*\*|\$\{\w+\}@|PORT\b|\d{1,5}(?![^/?#\s'\"),;:.\]}>|]))[^\s'\"]+"), r"\1:***"),
    (re.compile(r"(\w*password(?:=|%3D))[^&\s'\"]+", re.I), r"\1***"),
)
RAISED: Final = (Exception, SystemExit)  # errors of a user's code, which may call sys.exit()
CALL: Final = ("STUDY",)  # placeholder in commands for a study file that is unknown
# Beginnings of files that do not belong to the user: this program, Python's library, and code without a file.
OTHERS: Final = (f"{Path(__file__).parent}{os.sep}", f"{sysconfig.get_path('stdlib')}{os.sep}", "<")


def hide(text: str) -> str:
    """Text with the passwords of its URLs hidden."""
    for pattern, shown in PASSWORDS:
        text = pattern.sub(shown, text)
    return text


def one_line(text: str) -> str:
    """Text on one line, with unprintable characters escaped and passwords in URLs hidden."""
    return hide("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in " ".join(text.split())))


def counted(count: int, noun: str, several: str | None = None) -> str:
    """A number with its noun: `1 problem`, `2 problems`. several: the plural of a noun that does not just take an s."""
    return f"{count} {noun if count == 1 else several or f'{noun}s'}"


def difference(share: float, margin: float | None = None) -> str:
    """A relative difference in words: `9.8 % lower`, `12.5 times` from 900 %, and with a margin (half of a confidence
    interval) `3.1 ± 4.0 % higher`; empty if it is not finite."""
    if margin is not None:
        shown = f"{100 * abs(share):.1f} ± {100 * margin:.1f} %"
        return shown if shown.startswith("0.0 ") else f"{shown} {'higher' if share > 0 else 'lower'}"
    if not math.isfinite(share):
        return ""
    if share >= 9:
        return f"{1 + share:.3g} times"
    shown = f"{100 * abs(share):.{0 if abs(share) >= 0.9995 else 1}f}"
    return "the same" if shown == "0.0" else f"{shown} % {'higher' if share > 0 else 'lower'}"


def command(*words: object) -> str:
    """A command line that can be copied into a shell, with words quoted: `weightsearch run 'a b.yaml'`."""
    return shlex.join(str(word) for word in words)


def called(call: Sequence[str], name: str, *words: object) -> str:
    """A command of weightsearch about a study. call: the study file and its overrides. name: the command. words: its
    further arguments."""
    file, *overrides = call
    return command("weightsearch", *name.split(), file, *words, *overrides)


class Secret(str):
    """Text whose repr is hidden, for example in tracebacks that print variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; its type if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def last_line(error: BaseException) -> str:
    """The last line of an exception's message (in the text of a traceback, the error); its type if the message is
    empty."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def kind_and_line(error: BaseException) -> str:
    """An exception's type and the first line of its message."""
    return f"{type(error).__name__}: {first_line(error)}" if str(error).strip() else type(error).__name__


def fault_line(error: BaseException) -> str:
    """An exception of other code on one line: its type, its message, and the line of code that raised it."""
    location = fault_place(error)
    return one_line(f"{kind_and_line(error)} ({location})" if location else kind_and_line(error))


def fault_place(error: BaseException, *, own: bool = False) -> str:
    """`file:line` of the deepest frame in a user's own code, outside this program and installed packages. Without such
    a frame, that of the deepest frame of all or, with `own`, empty."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(OTHERS) and not _installed(frame.filename)]
    chosen = theirs or ([] if own else frames)
    return f"{chosen[-1].filename}:{chosen[-1].lineno}" if chosen else ""


def _installed(filename: str) -> bool:
    return bool({"site-packages", "dist-packages"} & set(Path(filename).parts))


class WeightsearchError(Exception):
    """An error that a single line explains; the command line prints the line and exits with `exit_status`."""

    exit_status = 2


@dataclass(frozen=True)
class Problem:
    """One mistake in a study file.

    path: dotted path of the value, such as `loss.fractional.weight` (empty for the whole file).
    message: what was found and what is allowed.
    place: `file:line`, or the `--set` option that set the value.
    """

    path: str
    message: str
    place: str

    def __str__(self) -> str:
        head = f"{self.path}: " if self.path else ""
        return one_line(f"{head}{self.message} ({self.place})")


class ConfigError(WeightsearchError):
    """A study file that cannot be used; `problems` holds every mistake found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class OptionError(WeightsearchError):
    """An option that a plug-in cannot use; the study file's loader adds file and line."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"{option}: {message}" if option else message)
        self.option = option
        self.message = message


class DataError(WeightsearchError):
    """A data set that cannot be read: missing, truncated or mis-sized files, empty splits."""


class ChangedDataError(DataError):
    """A data set whose content has changed since its study started, or that differs on another host."""


class ModelError(WeightsearchError):
    """A network that cannot be built, weights that do not fit it, or predictions that lack what a term needs."""


class CheckpointError(WeightsearchError):
    """A checkpoint that is missing or damaged."""


class WriteError(WeightsearchError):
    """A file or folder that cannot be written: a full disk, no permission."""


class NotShared(WriteError):
    """A run folder of the driver that a worker on another machine cannot access."""


class TrialFailure(WeightsearchError):
    """A training that cannot continue, for example because the loss is not finite. The message is stored as the trial's
    reason."""

    exit_status = 1


class StoreError(WeightsearchError):
    """A study database that cannot be opened, read or written."""


class StoreMissing(StoreError):
    """A study database that does not exist."""


class StoreUnavailable(StoreError):
    """A study database that does not answer: its server is down, or a lock is held too long."""

    exit_status = 1


class StudyHeld(StoreError):
    """A study that another driver runs or has taken over."""

    exit_status = 3


class SearchError(WeightsearchError):
    """A search that cannot start or continue, for example on a cluster without the resources of a trial."""

    exit_status = 1
