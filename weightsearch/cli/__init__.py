"""The command line: what the commands are and what they call; screen.py says what they show."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from pathlib import Path

from weightsearch.cli import data, database, reports, start, studies, training
from weightsearch.cli.app import GIVEN_STORAGE, app
from weightsearch.console import err
from weightsearch.errors import ConfigError, WeightsearchError, hide, one_line
from weightsearch.files import expanded
from weightsearch.search.stopping import INTERRUPTED, Stop, stoppable

__all__ = ["app", "data", "database", "main", "reports", "start", "studies", "training"]


def main() -> None:
    """Entry point: one line and an exit status for whatever the user can mend."""
    _speak_utf_8()
    sys.argv[1:] = [_at_home(word) for word in sys.argv[1:]]
    sys.path.append(str(Path.cwd()))  # for plug-ins beside the study; last, so that nothing installed is shadowed
    stop = Stop()
    try:
        _keep_password_from_process_list()
        with stoppable() as stop:
            try:
                app()
            except SystemExit as end:
                if end.code == INTERRUPTED:  # typer made this of a KeyboardInterrupt, and says nothing
                    raise KeyboardInterrupt from None
                raise
    except ConfigError as error:
        for problem in error.problems:
            err.print(str(problem), markup=False)
        sys.exit(error.exit_status)
    except WeightsearchError as error:
        err.print(one_line(str(error)), markup=False)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        err.print("stopped")
        sys.exit(stop.status)


def _speak_utf_8() -> None:
    """Start again in Python's UTF-8 mode, which the workers share, under a locale of ASCII only (`LC_ALL=C`): other
    file names could neither be read nor shown there. Letters that an output cannot show are printed as escapes."""
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.orig_argv[0], "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - without a shell
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _at_home(word: str) -> str:
    """`--out=~/runs` with the home folder in place of `~`, which a shell replaces only at the beginning of a word."""
    option, equals, value = word.partition("=")
    return f"{option}={expanded(value)}" if equals and option.startswith("--") and value.startswith("~") else word


def _keep_password_from_process_list() -> None:
    """A command line is everybody's to read: start again with a password in `--set storage=...` moved to the
    environment. Raises WeightsearchError for passwords elsewhere."""
    words = list(sys.orig_argv)
    for place, word in enumerate(words):
        if hide(word) == word or re.search(r":\$\{\w+\}@", word):
            continue
        found = re.fullmatch(r"((?:--set=)?)\s*storage\s*=(.*)", word, re.DOTALL)
        if found is None:
            raise WeightsearchError(
                "a password stands in the command line, where everybody can read it; write the URL into the study "
                "file's storage, with ${VARIABLE} for the password"
            )
        value = found.group(2).strip().strip("'\"")
        os.environ[GIVEN_STORAGE] = re.sub(
            r"\$\{(\w+)\}", lambda name: os.environ.get(name.group(1), name.group()), value
        )
        words[place] = f"{found.group(1)}storage=${{{GIVEN_STORAGE}}}"
    if words != sys.orig_argv:
        os.execv(sys.executable, words)  # noqa: S606 - the same program again, without a shell
