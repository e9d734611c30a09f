"""What a person sees of a search: progress, and the result. Together with cli.py the only module that prints."""

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
    from pathlib import Path

    from weightsearch.search.ledger import Event
    from weightsearch.search.status import Status
    from weightsearch.study.store import StudyStore
    from weightsearch.study.summary import StudySummary, TrialSummary

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, soft_wrap=True)

FAILURES = 5  # failed trials that are told one by one
SILENCE = 30.0  # seconds of a search without a terminal before an epoch is worth a line


class View:
    """Progress on the screen: a live view on a terminal, a line for each thing that happens elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.live: Live | None = None
        self.status: Status | None = None
        self.last = 0.0

    def line(self, text: str) -> None:
        if not self.quiet:
            out.print(text, markup=False)

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
        table.add_row(*cells)
    return table


def _change(mine: float, other: float) -> str:
    return f"{100 * (mine / other - 1):+.1f} %" if other else ""


def _with_baseline(trial: TrialSummary) -> str:
    return f", the baseline {trial.baseline!r}: nothing that was searched beats it" if trial.baseline else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
