"""The output of commands: results, comparisons, data checks, claims, costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from weightsearch.config.ranges import text_of
from weightsearch.console.streams import change, err, out
from weightsearch.errors import called, command, counted
from weightsearch.records import EVALUATED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsearch.analysis.verdict import Contender, Sentence
    from weightsearch.compare.studies import Entry
    from weightsearch.config import Configuration
    from weightsearch.data.check import DataCheck, VideoCheck
    from weightsearch.study.summary import StudySummary, TrialSummary
    from weightsearch.systems.claim import Claim
    from weightsearch.systems.dual_head.quantisation import Quantisation
    from weightsearch.training.cost import Cost

SPREAD = "± is the standard deviation over the seeds"
FAILURES = 5  # failed trials that are listed with their reasons


def print_claims(claims: Sequence[Claim]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    for name, ratio in (("source", 1), ("claim", 4), ("verdict", 2), ("correct", 5), ("computation", 3)):
        table.add_column(name, ratio=ratio, overflow="fold")
    for claim in claims:
        _add(table, claim.source, claim.with_place, claim.verdict, claim.with_evidence, claim.how)
    out.print(table, soft_wrap=False)


def print_quantisation(rows: Sequence[Quantisation]) -> None:
    """Print the errors of quantised outputs in millimetres, a row for each number of levels."""
    first = rows[0]
    columns = ("one output: step, mm", "largest error", "mean", "two outputs: largest error", "mean")
    table = _table("levels", "bits", *columns)
    for row in rows:
        errors = (row.single.step, row.single.largest_error, row.single.mean_error, row.largest_error, row.mean_error)
        _add(table, str(row.single.levels), f"{row.single.bits:.2f}", *(f"{1000 * error:.4g}" for error in errors))
    out.print(table)
    out.print(
        f"depth {first.min_depth:g} to {first.max_depth:g} m; the integer target has {first.targets} values, "
        f"{first.target_bits:.2f} bits for evenly spread depth; decoding of the two outputs: {first.decode}",
        markup=False,
    )
    depths = [depth for depth in (0.5, 1, 2, 3, 5, 10, 15, 20, 40, 80) if first.min_depth <= depth <= first.max_depth]
    table = _table("largest relative error at", *(f"{depth:g} m" for depth in depths))
    for row in rows:
        for name, error in (("one output", row.single.largest_error), ("two outputs", row.largest_error)):
            cells = (f"{100 * error / depth:.3g} %" for depth in depths if depth)
            _add(table, f"{name}, {row.single.levels} levels", *cells)
    out.print(table)


def print_result(summary: StudySummary, best_file: Path | None) -> None:
    counts = ", ".join(f"{count} {state}" for state, count in summary.states.items() if count) or "no trials"
    out.print(f"study {summary.study}: {counts}", markup=False)
    for trial in (trial for trial in summary.trials if trial.state == "RUNNING"):
        name = f"  trial {trial.number}" + (f" ({trial.baseline})" if trial.baseline else "")
        host = summary.hosts.get(trial.number)
        state = f"is running{f' on {host}' if host else ''}" if summary.drivers else "waits to be resumed"
        out.print(f"{name} {state}, {counted(trial.epochs, 'epoch')} done", markup=False)
    failed = [trial for trial in summary.trials if trial.reason and trial.state == "FAIL"]
    for trial in failed[:FAILURES]:
        out.print(f"  trial {trial.number} failed: {trial.reason}", markup=False)
    if len(failed) > FAILURES:
        written = called(summary.call, "export", "--trials", "trials.csv")
        out.print(f"  and {len(failed) - FAILURES} more; all are written by: {written}", markup=False)
    if summary.states["WAITING"] or summary.states["RUNNING"]:
        if summary.drivers:
            who = " and ".join(summary.drivers)
            out.print(f"  is being run by {who}; follow it with: {called(summary.call, 'watch')}", markup=False)
        else:
            out.print(f"  no driver runs the study; resume with: {called(summary.call, 'run')}", markup=False)
    if summary.best is None:
        print_verdict(summary.sentences())
        return
    for table in _comparison(summary, summary.best):
        out.print(table)
    name = "" if summary.best.baseline is None else f", the baseline {summary.best.baseline!r}"
    by = f" by {next(iter(summary.directions))}, the first objective" if len(summary.directions) > 1 else ""
    out.print(f"best{by}: trial {summary.best.number}{name}", markup=False)
    for path, value in summary.best.params.items():
        shown = f"{value:.4g}" if isinstance(value, float) else text_of(value)
        out.print(f"  {path}: {shown}", markup=False)
    if len(summary.front) > 1:
        numbers = ", ".join(str(trial.number) for trial in summary.front)
        out.print(f"Pareto-optimal trials: {numbers}", markup=False)
    print_verdict(summary.sentences())
    if best_file is not None:
        out.print(f"written: {best_file}; train it with: {command('weightsearch', 'train', best_file)}", markup=False)


def print_verdict(said: Sequence[Sentence], study: str = "") -> None:
    """Print the verdict on a study's best trial, a line for each sentence. study: its name, if several are compared."""
    for sentence in said:
        text = f"{study}: {sentence.text}" if study else sentence.text
        out.print(text, style="bold red" if sentence.warning else None, markup=False)


def print_compared(objective: str, entries: Sequence[Entry]) -> None:
    """Print a row for each set of weights on a study's data: mean and spread of the objective, the weights, and the
    other searched parameters."""
    splits = [split for split in EVALUATED if any(entry.values.get(split) for entry in entries)]
    table = _table("study", "weights of", *(f"{objective} {split}" for split in splits), "weights")
    study = ""
    for entry in entries:
        name, study = "" if entry.study == study else entry.study, entry.study
        cells = [_mean_and_spread(entry, split) for split in splits]
        weights = "  ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {text_of(value)}"
            for name, value in (entry.weights | entry.others).items()
        )
        weights = "ignores the image" if entry.trivial else weights
        _add(table, name, entry.label, *cells, weights + (f" ({entry.problem})" if entry.problem else ""))
    out.print(table)
    if any(len(values) > 1 for entry in entries for values in entry.values.values()):
        out.print(SPREAD, markup=False)


def _mean_and_spread(entry: Entry, split: str) -> str:
    mean, spread = entry.mean(split), entry.spread(split)
    if mean is None:
        return "-"
    return f"{mean:.4f}" if spread is None else f"{mean:.4f} ± {spread:.4f}"


def print_costs(costs: Sequence[Cost]) -> None:
    table = _table(
        "encoder",
        "size",
        "batch",
        "parameters",
        "of the encoder",
        "multiply-adds",
        "images/s",
        "images/s, training",
        "memory",
    )
    for cost in costs:
        _add(
            table,
            cost.encoder or "-",
            f"{cost.size[0]}x{cost.size[1]}",
            str(cost.batch_size),
            f"{cost.parameters / 1e6:.2f} M",
            f"{cost.encoder_parameters / 1e6:.2f} M",
            f"{cost.multiply_adds / 1e9:.2f} G",
            f"{cost.predicted:.1f}",
            f"{cost.trained:.1f}",
            "-" if cost.memory is None else f"{cost.memory / 2**20:.0f} MiB",
        )
    out.print(table)
    if costs:
        out.print(f"on {costs[0].device}; multiply-adds of one image forward; memory of the training", markup=False)


def print_metrics(columns: Mapping[str, Mapping[str, float]], split: str) -> None:
    """Print a row for every metric, a column for each predictor. columns: predictor -> metric -> value."""
    table = _table(f"on {split}", *columns)
    for name in dict.fromkeys(name for metrics in columns.values() for name in metrics):
        _add(table, name, *(f"{metrics[name]:.4g}" if name in metrics else "-" for metrics in columns.values()))
    out.print(table)


def print_data_check(check: DataCheck, configuration: Configuration) -> None:
    """Print a row for each video, then the splits and the frames in no split, then a line for every problem. The rows
    show depth, or flow if the data set has no depth."""
    from weightsearch.data.listing import example_noun

    low, high = configuration.data.min_depth, configuration.data.max_depth
    of_flow = any(video.flow is not None for video in check.videos) and all(video.known == 0 for video in check.videos)
    depth = ("depth from", "median", "to", "known", f"in {low:g}-{high:g} m")
    table = _table("video", "frames", "size", *(("median flow", "longest", "known") if of_flow else depth), "poses")
    for video in check.videos:
        sizes = ", ".join(f"{height}x{width}" for height, width in video.sizes[:3])
        _add(
            table,
            video.name,
            str(video.frames) if video.frames == video.of else f"{video.frames} of {video.of}",
            sizes + (f" and {len(video.sizes) - 3} more" if len(video.sizes) > 3 else ""),
            *(_flow_cells(video) if of_flow else _depth_cells(video)),
            "yes" if video.poses else "no",
        )
    out.print(table)
    if check.splits is not None:
        noun = example_noun(configuration)
        out.print(", ".join(f"{name} {count}" for name, count in check.splits.items()) + f" {noun}s", markup=False)
        unused = {
            f"left out at the cuts (data.split.gap {configuration.data.split.gap})": check.in_gaps,
            "in no split (the fractions of data.split add up to less than 1)": check.beyond,
            "left out: a neighbour is missing (data.neighbours)": check.alone,
            "left out: their depth is missing": check.left_out,
        }
        for why, count in unused.items():
            if count:
                out.print(f"{count} {f'{noun} is' if count == 1 else f'{noun}s are'} {why}", markup=False)
        out.print(f"{sum(check.splits.values()) + sum(unused.values())} {noun}s in all", markup=False)
    some = f"; depth is measured on one frame in {check.every} of each video" if check.every > 1 else ""
    out.print(f"{check.files} files read" if check.files else f"computed, no files{some}", markup=False)
    for problem in check.problems:
        err.print(problem, markup=False)


def _depth_cells(video: VideoCheck) -> list[str]:
    metres = ["-" if metres != metres else f"{metres:.2f} m" for metres in (video.low, video.median, video.high)]
    return [*metres, f"{video.known:.1%}", f"{video.valid:.1%}"]


def _flow_cells(video: VideoCheck) -> list[str]:
    flow = video.flow
    if flow is None or flow.known == 0:
        return ["-", "-", "0.0%"]
    return [f"{flow.median:.2f} px", f"{flow.longest:.2f} px", f"{flow.known:.1%}"]


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="left" if column in ("weights", "weights of", "size") else "right")
    return table


def _add(table: Table, *cells: str) -> None:
    """Add a row of plain text; rich must not read names as markup."""
    table.add_row(*map(Text, cells))


def _comparison(summary: StudySummary, best: TrialSummary) -> Iterator[Table]:
    """A table for each objective, and another for its means over new seeds: the best trial compared with every
    baseline and with the trivial baselines that ignore the image, on both splits."""
    for name in summary.directions:
        for retrained in (False, True):
            splits = [split for split in EVALUATED if not retrained or summary.contender(best).seeds(name, split)]
            if splits:
                yield _compared(summary, best, name, splits, retrained=retrained)


def _compared(
    summary: StudySummary, best: TrialSummary, objective: str, splits: Sequence[str], *, retrained: bool
) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("new seeds" if retrained else "", no_wrap=True)
    for split in splits:
        table.add_column(f"{objective} {split}", justify="right")
        table.add_column("best vs\nbaseline", justify="right")
    of_best = [_value(summary.contender(best), objective, split, retrained) for split in splits]

    def add(label: str, values: Sequence[float | None], state: str = "-") -> None:
        cells = [label]
        for value, mine in zip(values, of_best, strict=True):
            cells.append(state if value is None else f"{value:.4f}")
            cells.append("" if label == "best" or value is None or mine is None else change(mine, value))
        _add(table, *cells)

    add("best", of_best)
    for label, trial in summary.baselines.items():
        values = [_value(summary.contender(trial), objective, split, retrained) for split in splits]
        add(label, values, "-" if trial.state == "COMPLETE" else trial.state)
    for label in dict.fromkeys(label for of in summary.trivial.values() for label in of):
        trivial = [summary.trivial[split].get(label, {}).get(objective) for split in splits]
        if any(value is not None for value in trivial):
            add(label, trivial)
    return table


def _value(contender: Contender, objective: str, split: str, retrained: bool) -> float | None:
    if not retrained:
        return contender.searched(objective, split)
    return contender.expected(objective, split) if contender.seeds(objective, split) else None
