"""The command-line application, the commands' common arguments, and the search for a study's file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import typer.core

from weightsearch.config import load_identity
from weightsearch.errors import StoreMissing, WeightsearchError, hide
from weightsearch.plugins import find_plug_ins_in

if TYPE_CHECKING:
    from weightsearch.data.source import SplitName
    from weightsearch.study.database import Mode
    from weightsearch.study.store import StudyStore

GIVEN_STORAGE: Final = "WEIGHTSEARCH_GIVEN_STORAGE"  # variable for a storage URL with a password in the command line

# The order of the commands in the help: the order in which they are used.
ORDER: Final = (
    *("init", "validate", "run", "watch", "show", "report", "export", "train", "evaluate", "compare"),
    *("dashboard", "data", "cost", "analyse", "schema"),
)


class _InOrder(typer.core.TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(cls=_InOrder, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"weightsearch {version('weightsearch')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find, and understand, the loss weights of a depth network."""


Study = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file.")]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A training configuration, such as best.yaml.")]
Either = Annotated[Path, typer.Argument(metavar="FILE", help="A study file or a training configuration.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value of the file; repeatable.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Split = Annotated[str, typer.Option(help="Split: train, validation or test.")]


def located(path: Path) -> Path:
    """Return the path of a study file, and find plug-ins in its folder from now on."""
    find_plug_ins_in(path.absolute().parent)
    return path


def call_of(study: Path, sets: Sequence[str] | None) -> tuple[str, ...]:
    """The study file and its overrides, for commands to be copied; a password is shown as `***`."""
    given = os.environ.get(GIVEN_STORAGE, "")
    shown = [hide(override.replace(f"${{{GIVEN_STORAGE}}}", given)) for override in sets or ()]
    return str(study), *(word for override in shown for word in ("--set", override))


@contextmanager
def opened(study: Path, sets: list[str] | None, *, mode: Mode = "read") -> Iterator[StudyStore]:
    """Open a study's database, by default for reading."""
    from weightsearch.study.store import StudyStore
    from weightsearch.study.url import check_storage

    identity = load_identity(study, sets or ())
    check_storage(identity.storage, identity.place)
    try:
        store = StudyStore.open(identity.storage, identity.name, mode=mode)
    except StoreMissing as error:
        raise StoreMissing(f"{error}{_beside(study, identity.storage)}") from None
    store.call = call_of(study, sets)
    try:
        yield store
    finally:
        store.close()


def _beside(study: Path, storage: str) -> str:
    """The end of a message about a missing database: the path of one beside the study file; empty without one."""
    from weightsearch.study.url import parse_url

    name = Path(str(parse_url(storage).database))
    there = study.absolute().parent / name
    return "" if name.is_absolute() or not there.is_file() else f"; there is one beside the study file: {there}"


def split_of(name: str) -> SplitName:
    """The split of this name. Raises WeightsearchError for any other name."""
    from weightsearch.data.split import SPLITS

    for split in SPLITS:
        if split == name:
            return split
    raise WeightsearchError(f"--split: expected {', '.join(SPLITS)}, found {name!r}")


def metrics_line(metrics: Mapping[str, float], split: str) -> str:
    values = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    return f"{split}: {values or 'this split has no ground truth'}"
