"""Commands about studies: run, validate, show, export, compare."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightsearch.cli.app import (
    AsJson,
    Device,
    Quiet,
    Sets,
    Study,
    app,
    call_of,
    located,
    opened,
)
from weightsearch.config import Choices, load_study
from weightsearch.config.ranges import text_of
from weightsearch.config.yaml_source import placed
from weightsearch.console import View, err, out, print_compared, print_result, print_verdict, warn
from weightsearch.errors import StoreError, WeightsearchError, counted
from weightsearch.files import write_text

if TYPE_CHECKING:
    from weightsearch.study.store import StudyStore
    from weightsearch.study.summary import StudySummary


@app.command()
def run(
    study: Study,
    sets: Sets = None,
    quiet: Quiet = False,
    join: Annotated[bool, typer.Option("--join", help="Work beside a `run` that already works on this study.")] = False,
    force_new: Annotated[
        str | None, typer.Option(metavar="NAME", help="Start a new study with this name; the existing one stays.")
    ] = None,
) -> None:
    """Start or resume a study: run its trials, then compare the best trial with the baselines."""
    overrides = [*(sets or ()), *([] if force_new is None else [f"name={force_new}"])]
    config = load_study(located(study), overrides)
    from weightsearch.api.runs import run_study

    call = call_of(study, overrides)
    summary, best, warnings = run_study(config, View(quiet=quiet), call, join=join, new=force_new is not None)
    if not quiet:
        print_result(summary, best)
        for line in warnings:
            warn(line)
    if best is None:
        raise _NoResult(f"no trial of {config.name!r} trained to the end: {_first_reason(summary)}")


@app.command()
def validate(study: Study, sets: Sets = None) -> None:
    """Check a study file: its values, lists and splits, then its network and each loss term on a batch of noise. Print
    what would be searched. No image is read."""
    config = load_study(located(study), sets or ())
    from weightsearch.data.dataset import outline
    from weightsearch.data.listing import example_noun
    from weightsearch.data.noise import noise
    from weightsearch.search.samplers.sampler import check_sampler
    from weightsearch.study.url import check_storage
    from weightsearch.training.preflight import learning, preflight, used_terms

    check_storage(config.storage, config.yaml_source.place(("storage",)))
    check_sampler(config)
    with placed(config.yaml_source), tempfile.TemporaryDirectory() as folder:
        contents = outline(config.base)
        sizes = preflight(learning(config), noise(config.base, 2, Path(folder)), terms=used_terms(config))
    for line in contents.warnings:
        warn(line)
    out.print(f"{study}: study {config.name!r} is valid", markup=False)
    out.print(
        f"  {example_noun(config.base)}s: " + ", ".join(f"{count} {name}" for name, count in contents.counts.items()),
        markup=False,
    )
    if sizes is not None and sizes[0] != sizes[1]:
        height, width = sizes[0]
        compared = config.base.evaluation.size or config.base.data.size
        other = "each image's own size" if compared == "native" else f"{compared[0]}x{compared[1]}"
        out.print(
            f"  the network predicts depth at {height}x{width}: the loss compares it with the true depth at that size, "
            f"metrics resize it to {other}",
            markup=False,
        )
    for name, range_ in config.space.items():
        if isinstance(range_, Choices):
            text = ", ".join(map(text_of, range_.values))
        else:
            text = f"{range_.low:g} to {range_.high:g}" + (", log" if range_.log else "")
            text += f", step {range_.step:g}" if range_.step not in (None, 1) else ""
        out.print(f"  {name}: {text}", markup=False)
    search = config.search
    objectives = ", ".join(f"{direction} {name}" for name, direction in search.objectives.items())
    baselines = ", ".join(search.baselines) or "none"
    searched = search.trials - len(search.baselines)
    out.print(
        f"  {search.trials} trials: {counted(len(search.baselines), 'baseline')} ({baselines}), "
        f"{searched} searched by {search.sampler.name}; pruner {search.pruner.name}; {objectives}",
        markup=False,
    )
    if searched <= 0:
        warn("search.trials: all trials are baselines; nothing is searched")


@app.command()
def show(study: Study, sets: Sets = None, as_json: AsJson = False) -> None:
    """Print a study's trials by state, its best trial, its baselines and the verdict."""
    from weightsearch.api.runs import pixel_warnings
    from weightsearch.study.summary import summarise

    with opened(study, sets) as store:
        summary = summarise(store)
        if as_json:
            print(json.dumps(summary.to_plain(), indent=2))
        else:
            print_result(summary, None)
            for line in pixel_warnings(store, summary):
                warn(line)


@app.command()
def export(
    study: Study,
    sets: Sets = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Output file. Default: best.yaml.")] = None,
    trials: Annotated[Path | None, typer.Option(help="Also write all trials as CSV.")] = None,
    pareto: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write a configuration for every Pareto-optimal trial, and the table pareto.csv. The best "
            "configuration is then written only with --output.",
        ),
    ] = None,
) -> None:
    """Write the best configuration as YAML that trains as it is; with --trials also a table of all trials, with
    --pareto the whole front."""
    from weightsearch.study.export import best_configuration, trial_table, write_front
    from weightsearch.study.spreadsheet import to_csv

    with opened(study, sets) as store:
        if trials is not None:
            _write(trials, to_csv(trial_table(store)))
        if pareto is not None:
            table, count = write_front(store, pareto)
            what = "the configuration" if count == 1 else f"the {count} configurations"
            out.print(f"written: {table} and {what} that it lists", markup=False)
        if output is not None or pareto is None:
            _write(output or Path("best.yaml"), best_configuration(store))


@app.command()
def compare(
    studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Study files.")],
    sets: Sets = None,
    transfer: Annotated[
        bool, typer.Option("--transfer", help="Also train each study with the other studies' best weights.")
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=0, max=100, help="Number of new seeds to train the best trial and the baselines with.")
    ] = 0,
    baseline: Annotated[
        list[str] | None, typer.Option(help="A baseline to train again; repeatable. Default: all.")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare the first objective of several studies: each study's best weights and its baselines.

    Values are read from the databases. With --transfer or --seeds the best trials and the baselines are trained again
    with seeds that the search did not use, so that selection does not bias the result, and measured on the validation
    and the test split. Results of a study's own best trial and baselines are stored in its database and appear in its
    report.
    """
    from weightsearch.compare.studies import (
        Compared,
        Listener,
        common_objective,
        other_protocols,
        side_by_side,
        trained_anew,
        trivial_entries,
        verdict_of,
        with_trivial,
    )

    with ExitStack() as stack:
        stores = [stack.enter_context(opened(located(path), sets)) for path in studies]
        named = list(zip(stores, _names(studies, stores), strict=True))
        if transfer or seeds:
            writable = [_to_write(stack, path, sets) for path in studies]
            compared = [
                Compared.of(other or store, name, keep=other is not None)
                for (store, name), other in zip(named, writable, strict=True)
            ]
        else:
            compared = [Compared.of(store, name) for store, name in named]
        objective = common_objective(compared)
        for line in other_protocols(compared):
            err.print(line, markup=False)
        if not transfer and not seeds:
            if baseline:
                raise WeightsearchError("--baseline is for --seeds and --transfer")
            entries = side_by_side(compared, objective)
        else:
            view = View(quiet=quiet, to=err)
            with view.progress("reading frames") as progress:
                listener = Listener(view.line, view.seldom, progress)
                entries = trained_anew(
                    compared, objective, seeds or 1, device, listener, baseline or (), carry=transfer
                )
                compared = [with_trivial(study, progress) for study in compared]
        said = {
            study.name: study.summary.about_data() + study.summary.worded(verdict)
            for study in compared
            if (verdict := verdict_of(study, entries, objective)) is not None
        }
        entries = [
            entry
            for study in compared
            for entry in (*(row for row in entries if row.study == study.name), *trivial_entries(study, objective))
        ]
    if as_json:
        protocols = {study.name: study.protocol for study in compared}
        plain = [entry.to_plain() for entry in entries]
        texts = {name: [sentence.text for sentence in sentences] for name, sentences in said.items()}
        print(
            json.dumps({"objective": objective, "protocols": protocols, "entries": plain, "verdicts": texts}, indent=2)
        )
    else:
        print_compared(objective, entries)
        for name, sentences in said.items():
            print_verdict(sentences, name)


def _names(paths: list[Path], stores: list[StudyStore]) -> list[str]:
    """The names of studies in one table: their own, followed by the file if two are equal. Raises WeightsearchError for
    a study that is given twice."""
    if len({store.uid for store in stores}) < len(stores):
        raise WeightsearchError("a study is given twice; name each study once")
    names = [store.study.study_name for store in stores]
    return [name if names.count(name) == 1 else f"{name} ({path})" for name, path in zip(names, paths, strict=True)]


def _to_write(stack: ExitStack, path: Path, sets: list[str] | None) -> StudyStore | None:
    """Open a study's database for writing; print a line and return None if it can only be read."""
    try:
        return stack.enter_context(opened(path, sets, mode="write"))
    except StoreError as error:
        err.print(f"the results of these trainings will not be stored: {error}", markup=False)
        return None


class _NoResult(WeightsearchError):
    exit_status = 1


def _first_reason(summary: StudySummary) -> str:
    return next((trial.reason for trial in summary.trials if trial.reason), "every trial was pruned")


def _write(path: Path, text: str) -> None:
    write_text(path, text)
    out.print(f"written: {path}", markup=False)
