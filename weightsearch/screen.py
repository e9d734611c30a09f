"""What a person sees: progress, results, tables. Together with the commands the only module that prints."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsearch.data.check import DataCheck
    from weightsearch.search.comparison import Entry
    from weightsearch.search.ledger import Event
    from weightsearch.search.status import Status
    from weightsearch.spec import Configuration
    from weightsearch.study.store import StudyStore
    from weightsearch.study.summary import StudySummary, TrialSummary
    from weightsearch.training.cost import Cost

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, soft_wrap=True)

FAILURES = 5  # failed trials that are told one by one
SILENCE = 30.0  # seconds without a line before an epoch is worth one, where there is no terminal


class View:
    """Progress on the screen: a live view on a terminal, a line for each thing that happens elsewhere. to: where lines
    go; to `err` where the output proper is a table."""

    def __init__(self, *, quiet: bool, to: Console = out) -> None:
        self.quiet = quiet
        self.to = to
        self.live: Live | None = None
        self.status: Status | None = None
        self.last = 0.0

    def line(self, text: str) -> None:
        if not self.quiet:
            self.to.print(text, markup=False)

    def seldom(self, text: str) -> None:
        """A line, unless there was one a short while ago."""
        now = time.monotonic()
        if now - self.last >= SILENCE:
            self.last = now
            self.line(text)

    @contextmanager
    def progress(self, what: str) -> Iterator[Any]:
        """A callable for (done, total) that says how far something long is, once it takes longer than a second."""
        started = time.monotonic()

        def show_progress(done: int, total: int) -> None:
            now = time.monotonic()
            if not self.quiet and now - started > 1 and (now - self.last > 2 or done == total):
                self.last = now
                err.print(f"{what}: {done} of {total}", end="\r" if err.is_terminal else "\n", markup=False)

        yield show_progress

    def begin(self, status: Status) -> None:
        self.status = status
        if not self.quiet and out.is_terminal:
            self.live = Live(get_renderable=self._render, console=out, refresh_per_second=2)
            self.live.start()

    def end(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def __call__(self, event: Event) -> None:
        """Take an event of the search; without a terminal, print the ends of trials and now and then an epoch."""
        told = {
            "waiting": f"{event.reason}; the workers go on, their reports wait here until it is back",
            "back": "the database is back",
            "cluster": f"{event.reason}; starting Ray again, the trials go on from their checkpoints",
            "retried": f"trial {event.number} goes on after a failure of its worker: {event.reason}",
            "again": f"trial {event.number}: {event.reason}",
        }.get(event.kind)
        if told is not None:
            err.print(told, markup=False)
        status = self.status
        if status is None:
            return
        status.take(event)
        if told is not None:
            return
        if self.quiet and event.kind == "failed":
            err.print(f"trial {event.number} failed: {event.reason}", markup=False)
        now = time.monotonic()
        if self.live is not None or event.kind in ("started", "given back"):
            return
        if event.kind == "epoch" and now - self.last < SILENCE:
            return
        self.last = now
        name = f"trial {event.number}" + (f" ({event.baseline})" if event.baseline else "")
        what = f"epoch {event.record.epoch}/{status.epochs}" if event.record else event.kind
        best = status.best()
        so_far = f"best {best[1]:.4f} (trial {best[0]})" if best else "no full trial yet"
        value = f" {status.objective} {status.values[event.number]:.4f}" if event.number in status.values else ""
        reason = f": {event.reason}" if event.reason else ""
        left = status.seconds_left()
        time_left = f", {_duration(left)} left" if left else ""
        self.line(f"[{status.ended}/{status.total}] {name} {what}{value}{reason}; {so_far}{time_left}")

    def _render(self) -> Group:
        status = self.status
        if status is None:
            return Group()
        states = status.states
        left = status.seconds_left()
        head = Text(
            f"{status.ended}/{status.total} trials: {states['COMPLETE']} done, {states['PRUNED']} pruned, "
            f"{states['FAIL']} failed; {len(status.running)} running; {_duration(status.elapsed())} so far"
            + (f", {_duration(left)} left" if left else "")
        )
        lines = [head]
        if status.away:
            lines.append(Text(f"waiting for the database: {status.away}", style="bold red"))
        best = status.best()
        if best:
            lines.append(Text(f"best {status.objective} {best[1]:.4f} (trial {best[0]})", style="bold"))
            lines += [
                Text(f"  against {name} {value:.4f} ({_change(best[1], value)})")
                for name, value in status.baseline_values().items()
            ]
        lines += [
            Text(f"  trial {number}: {'█' * epoch}{'░' * (status.epochs - epoch)} epoch {epoch}/{status.epochs}")
            for number, epoch in sorted(status.running.items())
            if status.epochs <= 60
        ]
        return Group(*lines)


def print_result(store: StudyStore, summary: StudySummary, best_file: Path | None) -> None:
    counts = ", ".join(f"{count} {state}" for state, count in summary.states.items() if count) or "no trials"
    out.print(f"study {summary.study}: {counts}", markup=False)
    failed = [trial for trial in summary.trials if trial.reason and trial.state == "FAIL"]
    for trial in failed[:FAILURES]:
        out.print(f"  trial {trial.number} failed: {trial.reason}", markup=False)
    if len(failed) > FAILURES:
        out.print(f"  and {len(failed) - FAILURES} more; export --trials FILE writes them all", markup=False)
    if summary.states["WAITING"] or summary.states["RUNNING"]:
        out.print("  what is not finished goes on with: weightsearch run", markup=False)
    if summary.best is None:
        return
    out.print(_comparison(store, summary, summary.best))
    out.print(f"best: trial {summary.best.number}" + _with_baseline(summary.best), markup=False)
    for name, value in summary.best.params.items():
        out.print(f"  {name}: {value}", markup=False)
    if len(summary.front) > 1:
        numbers = ", ".join(str(trial.number) for trial in summary.front)
        out.print(f"not beaten in every objective: trials {numbers}", markup=False)
    if best_file is not None:
        out.print(f"written: {best_file}; train it with: weightsearch train {best_file}", markup=False)


def print_compared(objective: str, entries: Sequence[Entry]) -> None:
    """A row for each set of weights on a study's data: mean and spread of the objective, and the weights."""
    splits = [split for split in ("validation", "test") if any(entry.values.get(split) for entry in entries)]
    table = _table("study", "weights of", *(f"{objective} {split}" for split in splits), "weights")
    study = ""
    for entry in entries:
        name, study = "" if entry.study == study else entry.study, entry.study
        cells = [_mean_and_spread(entry, split) for split in splits]
        weights = "  ".join(f"{term} {weight:.4g}" for term, weight in entry.weights.items())
        _add(table, name, entry.label, *cells, weights + (f" ({entry.problem})" if entry.problem else ""))
    out.print(table)


def _mean_and_spread(entry: Entry, split: str) -> str:
    mean, spread = entry.mean(split), entry.spread(split)
    if mean is None:
        return "-"
    return f"{mean:.4f}" if spread is None else f"{mean:.4f} ± {spread:.4f}"


def print_costs(costs: Sequence[Cost]) -> None:
    table = _table(
        "encoder", "size", "batch", "parameters", "encoder's", "multiply-adds", "images/s", "in training", "memory"
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


def print_data_check(found: DataCheck, configuration: Configuration) -> None:
    """A row a video, then the splits, then a line for every problem."""
    low, high = configuration.data.min_depth, configuration.data.max_depth
    table = _table("video", "frames", "size", "depth from", "median", "to", "known", f"in {low:g}-{high:g} m", "poses")
    for video in found.videos:
        sizes = ", ".join(f"{height}x{width}" for height, width in video.sizes[:3])
        _add(
            table,
            video.name,
            str(video.frames) if video.frames == video.of else f"{video.frames} of {video.of}",
            sizes + (f" and {len(video.sizes) - 3} more" if len(video.sizes) > 3 else ""),
            *("-" if metres != metres else f"{metres:.2f} m" for metres in (video.low, video.median, video.high)),
            f"{video.known:.1%}",
            f"{video.valid:.1%}",
            "yes" if video.poses else "no",
        )
    out.print(table)
    if found.splits is not None:
        out.print(", ".join(f"{name} {count}" for name, count in found.splits.items()) + " frames", markup=False)
    out.print(f"{found.files} files read" if found.files else "computed, no files", markup=False)
    if found.left_out:
        out.print(f"{found.left_out} frames are left out: their depth is missing", markup=False)
    for problem in found.problems:
        err.print(problem, markup=False)


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="left" if column in ("weights", "weights of", "size") else "right")
    return table


def _add(table: Table, *cells: str) -> None:
    """A row of plain text: names may hold what rich would take for markup."""
    table.add_row(*map(Text, cells))


def _comparison(store: StudyStore, summary: StudySummary, best_trial: TrialSummary) -> Table:
    """The best trial against every baseline, on both splits; the change is the best's against the baseline's."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    columns = [(name, split) for name in summary.directions for split in ("validation", "test")]
    for name, split in columns:
        table.add_column(f"{name} {split}", justify="right")
        table.add_column("best vs this", justify="right")
    best = {split: store.metrics(best_trial.number, split) for split in ("validation", "test")}
    rows = [("best", best_trial), *summary.baselines.items()]
    for label, trial in rows:
        cells: list[str] = [label]
        for name, split in columns:
            value = store.metrics(trial.number, split).get(name) if trial.state == "COMPLETE" else None
            mine = best[split].get(name)
            cells.append(trial.state if trial.state != "COMPLETE" else "-" if value is None else f"{value:.4f}")
            compare = label != "best" and value is not None and mine is not None
            cells.append(_change(mine, value) if compare and mine is not None and value is not None else "")
        _add(table, *cells)
    return table


def _change(mine: float, other: float) -> str:
    return f"{100 * (mine / other - 1):+.1f} %" if other else ""


def _with_baseline(trial: TrialSummary) -> str:
    return f", the baseline {trial.baseline!r}: nothing that was searched beats it" if trial.baseline else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
