"""The live view of a study: progress, events, and each running trial's loss terms."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from weightsearch.console.streams import change, duration, err, out
from weightsearch.errors import StoreError, StoreUnavailable
from weightsearch.search.cpus import ONE_KIND

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from weightsearch.analysis.gradient_ratio import Pull
    from weightsearch.search.ledger import Event
    from weightsearch.search.status import Status
    from weightsearch.study.progress import Counts, Progress, RunningTrial

SHARE_OF_LOOKS = 10  # seconds of pause for each second that reading the progress takes
SHARE_OF_COUNTS = 50  # seconds of pause for each second that counting all drivers' trials takes
DETAILED = 4  # running trials whose terms are shown
SILENCE = 30.0  # seconds without output before an epoch prints a line, if there is no terminal


class View:
    """Progress on the screen: a live view on a terminal, otherwise a line for each event. quiet: print errors only. to:
    the console for lines; `err` for commands whose output is a table."""

    def __init__(self, *, quiet: bool, to: Console = out) -> None:
        self.quiet = quiet
        self.to = to
        self.live: Live | None = None
        self.status: Status | None = None
        self.study = ""
        self.last = 0.0
        self.counts: Callable[[Collection[int]], Counts] | None = None
        self.due = 0.0
        self.warned: set[int] = set()  # trials with a warning about a loss term without pixels

    def line(self, text: str) -> None:
        if not self.quiet:
            self.to.print(text, markup=False)

    def seldom(self, text: str) -> None:
        """Print a line, unless the last one is less than SILENCE seconds old."""
        now = time.monotonic()
        if now - self.last >= SILENCE:
            self.last = now
            self.line(text)

    @contextmanager
    def progress(self, what: str) -> Iterator[Any]:
        """A callable (done, total) that prints the progress of a long step, once it takes longer than a second. what:
        the step's name."""
        started = time.monotonic()

        def show_progress(done: int, total: int) -> None:
            now = time.monotonic()
            if not self.quiet and now - started > 1 and (now - self.last > 2 or done == total):
                self.last = now
                err.print(f"{what}: {done} of {total}", end="\r" if err.is_terminal else "\n", markup=False)

        yield show_progress

    def begin(self, status: Status, study: str, counts: Callable[[Collection[int]], Counts] | None = None) -> None:
        """Start the view of a study. counts: reads the numbers of trials of all drivers, given the COMPLETE trials that
        need not be read again."""
        self.status, self.study, self.counts = status, study, counts
        if not self.quiet and out.is_terminal:
            self.live = Live(get_renderable=self._render, console=out, refresh_per_second=2)
            self.live.start()

    def end(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def __call__(self, event: Event) -> None:
        """Take an event of the search; without a terminal, print the ends of trials and some of the epochs."""
        told = {
            "waiting": f"{event.reason}; the workers continue, their reports are kept until the database is back",
            "back": "the database is back",
            "note": f"no more notes for optuna-dashboard: {event.reason}",
            "cluster": f"{event.reason}; starting Ray again; the trials resume from their checkpoints",
            "retried": f"trial {event.number}: its worker failed, it resumes from its checkpoint: {event.reason}",
            "again": f"trial {event.number}: {event.reason}",
            "warning": f"warning: {event.reason}",
            "cpu": f"trial {event.number} is trained on another kind of CPU ({event.reason}): {ONE_KIND}",
        }.get(event.kind)
        if told is not None:
            err.print(told, markup=False)
        status = self.status
        if status is None or event.kind == "warning":  # a warning may come from another thread
            return
        status.take(event)
        self._count(status)
        if told is not None:
            return
        if event.number is not None and event.number not in self.warned and event.record is not None:
            for warning in event.record.warnings:
                self.warned.add(event.number)
                err.print(f"trial {event.number}, epoch {event.record.epoch}: {warning}", markup=False)
        if self.quiet and event.kind == "failed":
            err.print(f"trial {event.number} failed: {event.reason}", markup=False)
        now = time.monotonic()
        if self.live is not None or event.kind in ("started", "given back"):
            return
        last_epoch = event.record is not None and event.record.epoch == status.train.epochs  # its end follows
        if event.kind == "epoch" and (last_epoch or now - self.last < SILENCE):
            return
        self.last = now
        name = f"trial {event.number}" + (f" ({event.baseline})" if event.baseline else "")
        what = f"epoch {event.record.epoch}/{status.train.epochs}" if event.record else event.kind
        best = status.best()
        so_far = f"best {best[1]:.4f} (trial {best[0]})" if best else "no full trial yet"
        value = f" {status.objective} {status.values[event.number]:.4f}" if event.number in status.values else ""
        reason = f": {event.reason}" if event.reason else ""
        left = status.seconds_left()
        time_left = f", {duration(left)} left" if left else ""
        self.line(f"[{status.ended}/{status.total}] {name} {what}{value}{reason}; {so_far}{time_left}")

    def _count(self, status: Status) -> None:
        """Read the results of other drivers, unless they were read a short while ago."""
        started = time.monotonic()
        if self.counts is None or status.away or started < self.due:
            return
        with suppress(StoreError):  # the next event tries again
            status.recount(self.counts(status.full))
        self.due = time.monotonic() + SHARE_OF_COUNTS * (time.monotonic() - started)

    def _render(self) -> Group:
        return Group() if self.status is None else progress_group(self.status.progress(self.study))


def progress_group(now: Progress) -> Group:
    """A study's progress: ended trials, the best value so far compared with the baselines and, for running trials, the
    contribution and gradient ratio of every loss term."""
    states = now.states
    head = f"{now.ended}{'' if now.total is None else f'/{now.total}'} trials: {states['COMPLETE']} done, "
    head += f"{states['PRUNED']} pruned, {states['FAIL']} failed; {states['RUNNING']} running"
    head += f"; {states['WAITING']} waiting" if states.get("WAITING") else ""
    lines = [Text(head)]
    times = [] if now.elapsed is None else [f"{duration(now.elapsed)} so far"]
    times += [f"{duration(now.left)} left"] if now.left else []
    if not now.ended and not any(trial.epoch for trial in now.running):
        times.append("the workers are starting" if not now.running else "no epoch has ended yet")
    if times:
        lines.append(Text(", ".join(times)))
    if now.away:
        lines.append(Text(f"waiting for the database: {now.away}", style="bold red"))
    if now.best is not None:
        number, value = now.best
        lines.append(Text(f"best {now.objective} {value:.4f} (trial {number})", style="bold"))
        lines += [
            Text(f"  against {name} {other:.4f} ({change(value, other)})") for name, other in now.baselines.items()
        ]
    for trial in now.running[:DETAILED]:
        lines += _running_lines(trial, now)
    if len(now.running) > DETAILED:
        others = now.running[DETAILED:]
        lines.append(Text("  also running: " + ", ".join(_in_short(trial, now) for trial in others)))
    return Group(*lines)


def _in_short(trial: RunningTrial, now: Progress) -> str:
    where = f" on {trial.host}" if trial.host else ""
    return f"{trial.number} ({trial.epoch}/{now.epochs}{where})"


def _running_lines(trial: RunningTrial, now: Progress) -> list[Text]:
    name = f"  trial {trial.number}" + (f" ({trial.baseline})" if trial.baseline else "")
    value = "" if trial.value is None else f"  {now.objective} {trial.value:.4f}"
    done = trial.epoch / now.epochs if now.epochs else 0.0
    lines = [Text(f"{name}: {_bar(done)} epoch {trial.epoch}/{now.epochs}{value}")]
    if trial.host:
        lines.append(Text(f"    on {trial.host}", style="dim"))
    if trial.contributions:
        where = "not measured yet" if trial.pull is None else f"{trial.pull.words}, epoch {trial.pull.epoch}"
        lines.append(Text(f"    share of the loss; gradient ratio {where}", style="dim"))
    width = max((len(term) for term in trial.contributions), default=0)
    for term, share in trial.contributions.items():
        line = f"    {term:{width}}  {_bar(share)} {100 * share:3.0f} %"
        if trial.pull is not None:
            ratio = trial.pull.ratios.get(term)
            line += "  no gradient" if ratio is None else f"  {_pull(ratio, trial.pull)}"
        lines.append(Text(line, style="dim"))
    return lines


def _pull(ratio: float, pull: Pull) -> str:
    return f"{_bar(ratio / len(pull.ratios))} {ratio:.2g}"


def _bar(share: float) -> str:
    """A share in [0, 1] as a bar of ten characters."""
    eighths = round(80 * min(max(share, 0.0), 1.0)) if math.isfinite(share) else 0
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(10, "░")


def follow(look: Callable[[], Progress], every: float, *, once: bool) -> None:
    """Show a study's progress until Ctrl-C or until the study has ended: live on a terminal, otherwise a block of lines
    after each change. look: reads the progress. every: seconds between reads. once: show the progress once and return.
    Raises WeightsearchError if the first read does; later reads may fail."""
    now = look()
    if once or not out.is_terminal:
        shown: Progress | None = None
        while True:
            if now != shown:
                out.print(progress_group(now))
            shown = now
            if once or _over(now):
                return
            now = _next_look(look, now, every)
    with Live(progress_group(now), console=out, refresh_per_second=4) as live:
        while not _over(now):
            now = _next_look(look, now, every)
            live.update(progress_group(now))


def _next_look(look: Callable[[], Progress], before: Progress, every: float) -> Progress:
    """Read the progress after a pause, which is longer if reading is slow, as for a large study. If the database does
    not answer, return the last progress with the reason."""
    time.sleep(max(every, SHARE_OF_LOOKS * before.seconds))
    try:
        now = look()
    except StoreUnavailable as error:
        return replace(before, away=str(error))
    return now


def _over(now: Progress) -> bool:
    """True if no driver runs the study and no trial is running or waiting."""
    return now.ended > 0 and not now.drivers and not now.states["RUNNING"] and not now.states["WAITING"]
