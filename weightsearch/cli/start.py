"""Commands to start with: init, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from weightsearch.cli.app import app
from weightsearch.config.descriptions import first_sentence
from weightsearch.config.extends import shipped
from weightsearch.console import out
from weightsearch.errors import WeightsearchError, WriteError, command
from weightsearch.files import write_text
from weightsearch.plugins import known_words


@app.command()
def init(
    name: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="dualhead, silog, transfer, cotraining, ...")
    ] = None,
    output: Annotated[Path | None, typer.Option("--out", "-o", help="The new study file. Default: STUDY.yaml.")] = None,
) -> None:
    """Write a study that runs as it is into the current folder. Without a name, list the studies."""
    studies = shipped()
    if name is None:
        for one, path in studies.items():
            out.print(f"{one}: {_first_sentence(path)}", markup=False)
        return
    if name not in studies:
        raise WeightsearchError(f"no study {name!r}{known_words(name, studies)}")
    target = output or Path(f"{name}.yaml")
    if target.exists():
        raise WriteError(f"{target} exists; name another file with --out FILE")
    write_text(target, studies[name].read_text(encoding="utf-8"))
    out.print(f"{target}; next: {command('weightsearch', 'run', str(target))}", markup=False)


def _first_sentence(path: Path) -> str:
    """The first sentence of a study file's comment."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return first_sentence(" ".join(lines))


@app.command()
def schema() -> None:
    """Print the study file's format as a JSON Schema, for editors."""
    from weightsearch.config.json_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
