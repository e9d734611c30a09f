"""Commands about data sets: data check, data frames, data naive."""

from __future__ import annotations

import json

import typer

from weightsearch.cli.app import AsJson, Either, Quiet, Sets, Split, app, located, split_of
from weightsearch.config import load_base
from weightsearch.console import View, err, print_data_check, print_metrics, warn
from weightsearch.errors import WeightsearchError, counted

group = typer.Typer(no_args_is_help=True, help="Check a data set, list its frames, measure trivial baselines.")
app.add_typer(group, name="data")


class _BadData(WeightsearchError):
    exit_status = 1


@group.command()
def check(file: Either, sets: Sets = None, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Read every file once: print counts, sizes, depth range and coverage, and every bad file."""
    from weightsearch.data.check import check_data
    from weightsearch.metrics.protocol import misfit

    configuration = load_base(located(file), sets or ())
    with View(quiet=quiet).progress("reading frames") as progress:
        result = check_data(configuration, progress)
    other = misfit(configuration.evaluation.crop, (size for video in result.videos for size in video.sizes))
    if as_json:
        print(json.dumps(result.to_plain() | {"misfit": other}, indent=2, allow_nan=False))
    else:
        print_data_check(result, configuration)
        if other is not None:
            err.print(other, markup=False)
    if result.problems:
        raise _BadData(counted(len(result.problems), "problem"))


@group.command()
def frames(file: Either, sets: Sets = None, split: Split = "validation") -> None:
    """Print the names of a split's frames, a line each, in the order that `evaluate --predictions` takes them."""
    from weightsearch.evaluation.predictions import frame_names

    for name in frame_names(load_base(located(file), sets or ()), split_of(split)):
        print(name)


@group.command()
def naive(file: Either, sets: Sets = None, split: Split = "validation", as_json: AsJson = False) -> None:
    """Print the metrics of trivial baselines that ignore the image, which a network must beat: constant and mean depth,
    a camera at rest or with constant motion, no flow."""
    from weightsearch.data.dataset import open_dataset
    from weightsearch.evaluation.data_warnings import data_warnings
    from weightsearch.evaluation.naive import naive_metrics
    from weightsearch.evaluation.protocols import protocol_of

    configuration, name = load_base(located(file), sets or ()), split_of(split)
    protocol = protocol_of(configuration, name)
    with View(quiet=False).progress("reading frames") as progress:
        dataset = open_dataset(configuration, progress=progress)
        for line in data_warnings(dataset, protocol, ("train", name)):
            warn(line)
        metrics = naive_metrics(dataset, name, protocol, configuration.train.batch_size, progress)
    if not metrics:
        raise WeightsearchError(f"data: the {split} split has no ground truth")
    if as_json:
        print(json.dumps({"metrics": metrics, "protocol": protocol.to_plain()}, indent=2))
    else:
        print_metrics(metrics, split)
