"""The command line: the commands and their entry point. The package `console` prints their output."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from pathlib import Path

from weightsearch.cli import data, database, reports, start, studies, training
from weightsearch.cli.app import GIVEN_STORAGE, app
from weightsearch.config.descriptions import paragraphs
from weightsearch.console import err
from weightsearch.errors import ConfigError, WeightsearchError, hide, one_line
from weightsearch.files import expanded
from weightsearch.search.stopping import INTERRUPTED, Stop, stoppable

# Each paragraph of a command's docstring on one line: the help then wraps it to the terminal's width.
for _group in (app, *(group.typer_instance for group in app.registered_groups)):
    for _command in _group.registered_commands if _group is not None else ():
        _command.help = "\n\n".join(paragraphs(getattr(_command.callback, "__doc__", None) or ""))

__all__ = ["app", "data", "database", "main", "reports", "start", "studies", "training"]


def main() -> None:
    """Run a command; an error that the user can fix is one line and an exit status."""
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
                if end.code == INTERRUPTED:  # typer's form of a KeyboardInterrupt, without a message
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
    """Restart in Python's UTF-8 mode if the locale is ASCII only (`LC_ALL=C`), where other file names can be neither
    read nor printed; the workers inherit the mode. Characters that an output cannot show are printed as escapes."""
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.orig_argv[0], "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - without a shell
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _at_home(word: str) -> str:
    """An option such as `--out=~/runs` with `~` replaced by the home folder; a shell replaces it only at the beginning
    of a word."""
    option, equals, value = word.partition("=")
    return f"{option}={expanded(value)}" if equals and option.startswith("--") and value.startswith("~") else word


def _keep_password_from_process_list() -> None:
    """Restart with the password of `--set storage=...` moved to the environment, since all users can read a command
    line. Raises WeightsearchError for passwords elsewhere in it."""
    words = list(sys.orig_argv)
    for index, word in enumerate(words):
        if hide(word) == word or re.search(r":\$\{\w+\}@", word):
            continue
        match = re.fullmatch(r"((?:--set=)?)\s*storage\s*=(.*)", word, re.DOTALL)
        if match is None:
            raise WeightsearchError(
                "a password stands in the command line, where everybody can read it; write the URL into the study "
                "file's storage, with ${VARIABLE} for the password"
            )
        value = match.group(2).strip().strip("'\"")
        os.environ[GIVEN_STORAGE] = re.sub(
            r"\$\{(\w+)\}", lambda name: os.environ.get(name.group(1), name.group()), value
        )
        words[index] = f"{match.group(1)}storage=${{{GIVEN_STORAGE}}}"
    if words != sys.orig_argv:
        os.execv(sys.executable, words)  # noqa: S606 - the same program again, without a shell
