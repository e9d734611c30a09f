"""Commands about one configuration: train, evaluate, cost."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from weightsearch.api.trainings import default_folder, run_training
from weightsearch.cli.app import (
    AsJson,
    Config,
    Device,
    Either,
    Quiet,
    Sets,
    Split,
    app,
    located,
    metrics_line,
    split_of,
)
from weightsearch.config import load_base, load_configuration, locate
from weightsearch.config.ranges import text_of
from weightsearch.console import View, err, out, print_costs, warn
from weightsearch.errors import ConfigError, ModelError, OptionError, WeightsearchError

if TYPE_CHECKING:
    from weightsearch.config import Configuration
    from weightsearch.data.source import SplitName
    from weightsearch.metrics.protocol import Protocol
    from weightsearch.training.refine import Refinement

DRAWN: Final = 8  # frames


@app.command()
def train(
    config: Config,
    sets: Sets = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Output folder for checkpoint, configuration and metrics.")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train one configuration; resumes from its checkpoint."""
    configuration = load_configuration(located(config), sets or ())
    view = View(quiet=quiet)
    folder = out_dir or default_folder(configuration)
    result = run_training(configuration, folder, device, view)
    view.line(metrics_line(result["metrics"], "validation"))
    view.line(f"{folder}: checkpoint.pt, config.yaml, metrics.json")


@app.command()
def evaluate(
    config: Either,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint of weightsearch, or a state dict of another program.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Depth maps from another program: a .npy file [N, h, w], or a folder of .npy or .png files."),
    ] = None,
    sets: Sets = None,
    split: Split = "validation",
    device: Device = "auto",
    inverse: Annotated[bool, typer.Option("--inverse", help="The predictions are 1/depth.")] = False,
    scale: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="Units per metre of the predictions. Default: floats are metres, integers are in data.depth_scale.",
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            help="Image region that the predictions cover, if their size is ambiguous: whole, or a crop such as kb."
        ),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Draw up to eight frames of a checkpoint's split into this folder."),
    ] = None,
    refine: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="STEPS",
            help="Test-time refinement: optimizer steps on each frame before its prediction, by the study's loss terms "
            "that need no ground truth.",
        ),
    ] = None,
    refine_rate: Annotated[
        float | None, typer.Option(min=1e-9, help="Learning rate of --refine, as a share of the study's (default 0.1).")
    ] = None,
    refine_per: Annotated[
        str | None,
        typer.Option(
            metavar="frame|video", help="Restart --refine from the checkpoint at every frame (default) or every video."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the metrics of a checkpoint or of saved predictions on a split, with their protocol."""
    if (checkpoint is None) == (predictions is None):
        raise WeightsearchError("give --checkpoint or --predictions")
    name = split_of(split)
    refinement = _refinement(refine, refine_rate, refine_per)
    more: dict[str, object] = {}
    if checkpoint is not None:
        if inverse or scale is not None or part is not None:
            raise WeightsearchError("--inverse, --scale and --part are for --predictions")
        configuration = load_configuration(located(config), sets or ())
        if refinement is not None:
            if pictures is not None:
                raise WeightsearchError("--pictures draws what the checkpoint predicts as it is: leave out --refine")
            metrics, protocol, more = _refined(config, sets, configuration, checkpoint, name, refinement, device)
        else:
            metrics, protocol = _as_it_is(configuration, checkpoint, name, device, pictures)
    elif pictures is not None or refinement is not None:
        raise WeightsearchError(f"{'--refine' if pictures is None else '--pictures'} is for --checkpoint")
    elif predictions is not None:
        from weightsearch.evaluation.predictions import Meaning, evaluate_predictions

        meaning = Meaning(inverse, scale, part)
        with View(quiet=False).progress("reading frames") as progress:
            base = load_base(located(config), sets or ())
            metrics, protocol = evaluate_predictions(base, predictions, name, meaning, progress, _noted)
    if as_json:
        print(json.dumps({"metrics": metrics, "protocol": protocol.to_plain(), **more}, indent=2))
    else:
        out.print(metrics_line(metrics, split), markup=False)
        plain = {name: "none" if value is None else text_of(value) for name, value in protocol.to_plain().items()}
        details = ", ".join(f"{name} {text}" for name, text in plain.items() if name != "split")
        out.print(f"protocol: {details}", markup=False)


def _as_it_is(
    configuration: Configuration, checkpoint: Path, split: SplitName, device: str, pictures: Path | None
) -> tuple[dict[str, float], Protocol]:
    """The metrics of a checkpoint's network, and its pictures if a folder is given."""
    from weightsearch.evaluation.evaluate import evaluate_checkpoint
    from weightsearch.evaluation.pictures import write_pictures

    look = None if pictures is None else write_pictures(configuration, pictures, DRAWN)
    with View(quiet=False).progress("reading frames") as progress:
        return evaluate_checkpoint(
            configuration, checkpoint, split, device, progress=progress, look=look, on_warning=warn
        )


def _refinement(steps: int | None, rate: float | None, per: str | None) -> Refinement | None:
    """The options of test-time refinement; None without --refine. Raises WeightsearchError for options that cannot be
    combined."""
    if steps is None:
        if rate is not None or per is not None:
            raise WeightsearchError("--refine-rate and --refine-per are for --refine STEPS")
        return None
    if per not in (None, "frame", "video"):
        raise WeightsearchError(f"--refine-per: expected frame or video, found {per!r}")
    from weightsearch.training.refine import Refinement

    return Refinement(steps, 0.1 if rate is None else rate, "video" if per == "video" else "frame")


def _refined(
    file: Path,
    sets: list[str] | None,
    configuration: Configuration,
    checkpoint: Path,
    split: SplitName,
    refinement: Refinement,
    device: str,
) -> tuple[dict[str, float], Protocol, dict[str, object]]:
    """The metrics of a network that is refined on each frame, their protocol, and further entries of the JSON."""
    from weightsearch.training.refine import evaluate_refined

    view = View(quiet=False)
    try:
        with view.progress("reading frames") as reading, view.progress("refining frames") as refining:
            result = evaluate_refined(
                configuration, checkpoint, split, refinement, device, progress=reading, refining=refining
            )
    except OptionError as error:
        raise locate(file, sets or (), error) from None
    _noted(f"refinement: the loss of the frames went from {result.before:.4f} to {result.after:.4f} (mean)")
    plain = asdict(refinement) | {"terms": result.terms, "loss_before": result.before, "loss_after": result.after}
    return result.metrics, result.protocol, {"refinement": plain}


@app.command()
def cost(
    file: Either,
    sets: Sets = None,
    encoder: Annotated[list[str] | None, typer.Option(help="An encoder to measure; repeatable.")] = None,
    size: Annotated[
        list[str] | None, typer.Option(metavar="HEIGHTxWIDTH", help="An image size to measure; repeatable.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="Duration of each measurement in seconds.")] = 2.5,
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="Images per second of CPU time, for a busy machine.")
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Print parameters, multiply-adds, images a second and peak memory, for each encoder at each size.

    Measured on synthetic frames, in batches of train.batch_size, with random weights.
    """
    from weightsearch.runtime.device import choose_device
    from weightsearch.training.cost import measure_cost

    view = View(quiet=quiet, to=err)
    rows: list[list[str]] = [
        [*([f"model.encoder={name}"] if name else []), *([f"data.size={_size(text)}"] if text else [])]
        for name in encoder or [""]
        for text in size or [""]
    ]
    plain = load_base(located(file), sets or ())  # reports errors that do not depend on encoder and size
    without = ["model.weights=none"] if "weights" in plain.model.options else []  # their values do not change the cost
    costs, problems = [], []
    for row in rows:
        view.line(" ".join(["measuring", *row]))
        try:
            configuration = load_base(located(file), [*(sets or ()), *row, *without])
            chosen = choose_device(configuration, device)
            costs.append(measure_cost(configuration, chosen, seconds=seconds, cpu_time=cpu_time))
        except (ModelError, ConfigError) as error:
            problems.append(" ".join([*row, str(error)]))
    if as_json:
        print(json.dumps([asdict(measured) for measured in costs], indent=2))
    elif costs:
        print_costs(costs)
    if problems:
        raise WeightsearchError("; ".join(problems))


def _noted(text: str) -> None:
    err.print(text, markup=False)


def _size(text: str) -> str:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise WeightsearchError(f"--size: expected HEIGHTxWIDTH such as 240x320, found {text!r}")
    return f"[{match[1]}, {match[2]}]"
