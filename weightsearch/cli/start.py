"""Commands to start with: init, schema."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from weightsearch.cli.app import app
from weightsearch.config.descriptions import first_sentence
from weightsearch.config.extends import read_study, shipped
from weightsearch.config.json_schema import EDITORS, json_schema, write_schema
from weightsearch.console import out, warn
from weightsearch.errors import WeightsearchError, WriteError, command
from weightsearch.files import write_text
from weightsearch.plugins import known_words

DEFAULT: Final = "silog"  # the study whose loss is searched on a user's own data


@app.command()
def init(
    name: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="dualhead, silog, transfer, cotraining, ...")
    ] = None,
    rgb: Annotated[Path | None, typer.Option(metavar="DIR", help="Your images; with --depth.")] = None,
    depth: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Your depth maps: 16-bit .png or .npy files; with --rgb.")
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option("--list", metavar="FILE", help="A text file with a line 'IMAGE DEPTH' for each frame."),
    ] = None,
    seven_scenes: Annotated[
        Path | None,
        typer.Option("--seven-scenes", metavar="DIR", help="A scene of 7-Scenes: the folder that contains seq-*."),
    ] = None,
    nyu: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="NYU Depth v2: the folder that contains nyu_depth_v2_labeled.mat or sync."),
    ] = None,
    kitti: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="KITTI raw recordings: the folder that contains the date folders."),
    ] = None,
    depth_scale: Annotated[
        float | None,
        typer.Option(metavar="UNITS", help="Units per metre of your depth maps. Default: detected from the pixels."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the study file and the lists if they exist.")] = False,
    output: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="The new study file. Default: NAME.yaml.")
    ] = None,
) -> None:
    """Write a ready-to-run study file into the current folder.

    Without STUDY and data, list the shipped studies. With your own data (--rgb and --depth, --list, or a known data
    set) the study has the loss of STUDY, default silog: files are paired by their names, the depth's unit and range are
    detected from its pixels, and lists and a study file are written. study.schema.json is written beside the study,
    for editors.
    """
    studies = shipped()
    if name is not None and name not in studies:
        raise WeightsearchError(f"no study {name!r}{known_words(name, studies)}")
    given = {"--rgb": rgb, "--list": listed, "--seven-scenes": seven_scenes, "--nyu": nyu, "--kitti": kitti}
    chosen = [option for option, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise WeightsearchError(f"{' and '.join(chosen)} exclude each other: a study has one data set")
    if (rgb is None) != (depth is None):
        given_alone, other = ("--rgb", "--depth") if depth is None else ("--depth", "--rgb")
        raise WeightsearchError(f"{given_alone} needs {other}; both may name the same folder")
    if depth_scale is not None:
        _check_scale(depth_scale, chosen)
    if chosen:
        from weightsearch.starter.writing import Chosen, write_own_study

        source = Chosen(chosen[0], given[chosen[0]] or Path(), depth, depth_scale, force)
        target = _new(output or Path(f"{source.name}.yaml"), force=force)
        for line in write_own_study(name or DEFAULT, source, target):
            out.print(line, markup=False)
    elif name is None:
        _list_studies()
        return
    else:
        target = _new(output or Path(f"{name}.yaml"), force=force)
        write_text(target, studies[name].read_text(encoding="utf-8"))
    try:
        if (schema_file := write_schema(target.parent)) is not None:
            out.print(f"{schema_file}: YAML completion and checks for your editor", markup=False)
    except WriteError as error:
        warn(str(error))
    out.print(f"{target}; next: {command('weightsearch', 'run', str(target))}", markup=False)


def _check_scale(scale: float, chosen: Sequence[str]) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise WeightsearchError(f"--depth-scale: expected units per metre above 0, such as 1000, found {scale:g}")
    if chosen not in (["--rgb"], ["--list"]):
        raise WeightsearchError(
            "--depth-scale is for --rgb with --depth, and for --list; other data sets define the unit"
        )


def _list_studies() -> None:
    """Print the shipped studies: those on computed data first."""
    computed: list[str] = []
    others: list[str] = []
    for name, path in shipped().items():
        group = computed if read_study(path).tree["data"]["name"] == "procedural" else others
        group.append(f"  {name}: {_first_sentence(path)}")
    for line in ("Studies that run without data:", *computed, "Studies that need a data set:", *others):
        out.print(line, markup=False)
    out.print("next: weightsearch init NAME, or weightsearch init --rgb DIR --depth DIR for your data")


def _new(path: Path, *, force: bool) -> Path:
    if path.exists() and not force:
        raise WriteError(f"{path} exists; replace it with --force, or name another file with --out FILE")
    return path


def _first_sentence(path: Path) -> str:
    """The first sentence of a study file's comment."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if line == EDITORS:
            continue
        lines.append(line.removeprefix("#").strip())
    return first_sentence(" ".join(lines))


@app.command()
def schema() -> None:
    """Print the study file's format as a JSON Schema, for editors."""
    typer.echo(json.dumps(json_schema(), indent=2))
