"""Errors that a user can mend."""

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

# In a URL, from the first colon after the user to the last @, spaces in it or not; to the end of the word where there
# is no @ and no port either; and as an option.
PASSWORDS: Final = (
    (re.compile(r"(:/{1,2}[^:/@\s\[]*):(?!\*\*\*@|\$\{\w+\}@)[^\n]{1,200}(?=@)"), r"\1:***"),
    (re.compile(r"(://[^:/@\s\[]*):(?!\*\*\*|\$\{\w+\}@|PORT\b|\d{1,5}(?![^/?#\s'\"),;:.\]}>|]))[^\s'\"]+"), r"\1:***"),
    (re.compile(r"(\w*password(?:=|%3D))[^&\s'\"]+", re.I), r"\1***"),
)
RAISED: Final = (Exception, SystemExit)  # what a user's code may raise: sys.exit() is called in scripts
CALL: Final = ("STUDY",)  # how commands name a study whose file is not known
# Files that are no user's: this program's, Python's own, and code without a file.
OTHERS: Final = (f"{Path(__file__).parent}{os.sep}", f"{sysconfig.get_path('stdlib')}{os.sep}", "<")


def hide(text: str) -> str:
    """Text without the passwords of the URLs in it."""
    for pattern, shown in PASSWORDS:
        text = pattern.sub(shown, text)
    return text


def one_line(text: str) -> str:
    """Text on one line, with whatever a terminal would not print written out, and passwords in URLs hidden."""
    return hide("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in " ".join(text.split())))


def counted(count: int, noun: str, several: str | None = None) -> str:
    """`1 problem`, `2 problems`; several: of nouns that do not just take an s."""
    return f"{count} {noun if count == 1 else several or f'{noun}s'}"


def difference(share: float, margin: float | None = None) -> str:
    """A relative difference in words, in three significant digits: `9.8 % lower`, `3.1 ± 4.0 % higher` with half of a
    confidence interval, `12.5 times` from 900 % on."""
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
    """A command line that can be copied into a shell whatever its words are: `weightsearch run 'a b.yaml'`."""
    return shlex.join(str(word) for word in words)


def called(call: Sequence[str], name: str, *words: object) -> str:
    """A command of weightsearch about a study. call: the study file and the overrides with which it was given."""
    file, *overrides = call
    return command("weightsearch", *name.split(), file, *words, *overrides)


class Secret(str):
    """Text that does not show itself where variables are printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def first_line(error: BaseException) -> str:
    """The first line of what an exception says; its kind if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def last_line(error: BaseException) -> str:
    """The last line of what an exception says, in a traceback's text the fault; its kind if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def kind_and_line(error: BaseException) -> str:
    """An exception's kind and the first line of what it says."""
    return f"{type(error).__name__}: {first_line(error)}" if str(error).strip() else type(error).__name__


def fault_line(error: BaseException) -> str:
    """An exception of somebody else's code on one line: its kind, what it says, and the line of code it came from."""
    place = fault_place(error)
    return one_line(f"{kind_and_line(error)} ({place})" if place else kind_and_line(error))


def fault_place(error: BaseException, *, own: bool = False) -> str:
    """`file:line` of the deepest frame of a user's own code, neither this program's nor an installed package's. Where
    there is none, that of the deepest frame of all; own: empty then."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(OTHERS) and not _installed(frame.filename)]
    chosen = theirs or ([] if own else frames)
    return f"{chosen[-1].filename}:{chosen[-1].lineno}" if chosen else ""


def _installed(filename: str) -> bool:
    return bool({"site-packages", "dist-packages"} & set(Path(filename).parts))


class WeightsearchError(Exception):
    """A mistake or a fault that one line explains; the command line prints that line and exits with `exit_status`."""

    exit_status = 2


@dataclass(frozen=True)
class Problem:
    """One mistake in a study file.

    path: dotted path of the value, such as `loss.fractional.weight` (empty for the whole file).
    message: what was found and what is allowed.
    place: `file:line`, or the `--set` option that brought the value.
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
    """Raised by a plug-in that was given an option it cannot use; the study file's loader adds the place."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"{option}: {message}" if option else message)
        self.option = option
        self.message = message


class DataError(WeightsearchError):
    """A data set that cannot be read: missing, truncated or mis-sized files, empty splits."""


class ChangedDataError(DataError):
    """A data set that does not hold what it held when its study began, or another copy of it on another host."""


class ModelError(WeightsearchError):
    """A network that cannot be built, weights that do not fit it, or predictions that lack what a term needs."""


class CheckpointError(WeightsearchError):
    """A checkpoint that is missing or damaged."""


class WriteError(WeightsearchError):
    """A file or folder that cannot be written: a full disk, no permission."""


class NotShared(WriteError):
    """The driver's run folder, which a worker on another machine does not see."""


class TrialFailure(WeightsearchError):
    """A training that cannot go on, such as a non-finite loss. The message is the reason stored with the trial."""

    exit_status = 1


class StoreError(WeightsearchError):
    """A study database that cannot be opened, read or written."""


class StoreMissing(StoreError):
    """A study database that is not there."""


class StoreUnavailable(StoreError):
    """A study database that does not answer now: its server is away, or others hold a lock for long."""

    exit_status = 1


class StudyHeld(StoreError):
    """Another driver runs the study, or took it over."""

    exit_status = 3


class SearchError(WeightsearchError):
    """A search that cannot start or go on, such as a cluster without the resources of one trial."""

    exit_status = 1
