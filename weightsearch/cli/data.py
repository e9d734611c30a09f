"""Commands about data sets: data check, data frames, data naive."""

from __future__ import annotations

import json

import typer

from weightsearch.cli.app import AsJson, Either, Quiet, Sets, Split, app, located, split_of
from weightsearch.errors import WeightsearchError, counted
from weightsearch.screen import View, print_data_check, print_metrics
from weightsearch.spec import load_base

group = typer.Typer(no_args_is_help=True, help="Look at a data set.")
app.add_typer(group, name="data")


class _BadData(WeightsearchError):
    exit_status = 1


@group.command()
def check(file: Either, sets: Sets = None, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Read every file once: print counts, sizes, depth range and coverage, and every bad file."""
    from weightsearch.data.check import check_data

    configuration = load_base(located(file), sets or ())
    with View(quiet=quiet).progress("reading frames") as progress:
        found = check_data(configuration, progress)
    if as_json:
        print(json.dumps(found.to_plain(), indent=2, allow_nan=False))
    else:
        print_data_check(found, configuration)
    if found.problems:
        raise _BadData(counted(len(found.problems), "problem"))


@group.command()
def frames(file: Either, sets: Sets = None, split: Split = "validation") -> None:
    """Print the names of a split's frames, a line each, in the order that `evaluate --predictions` takes them."""
    from weightsearch.training.predictions import frame_names

    for name in frame_names(load_base(located(file), sets or ()), split_of(split)):
        print(name)


@group.command()
def naive(file: Either, sets: Sets = None, split: Split = "validation", as_json: AsJson = False) -> None:
    """Print the metrics of predictors that look at no picture, which a network must beat: constant and mean depth, a
    camera that stands or goes on as before, no flow."""
    from weightsearch.data.dataset import open_dataset
    from weightsearch.metrics.protocol import protocol_of
    from weightsearch.training.naive import naive_metrics

    configuration, name = load_base(located(file), sets or ()), split_of(split)
    protocol = protocol_of(configuration, name)
    with View(quiet=False).progress("reading frames") as progress:
        dataset = open_dataset(configuration, progress=progress)
        found = naive_metrics(dataset, name, protocol, configuration.train.batch_size, progress)
    if not found:
        raise WeightsearchError(f"data: no truth is known on the {split} split, so that there is nothing to beat")
    if as_json:
        print(json.dumps({"metrics": found, "protocol": protocol.to_plain()}, indent=2))
    else:
        print_metrics(found, split)
