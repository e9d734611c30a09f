"""What a person sees: progress, results, tables. Together with the commands the only module that prints."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from weightsearch.errors import StoreUnavailable, command
from weightsearch.spec.ranges import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from weightsearch.analysis.claim import Claim
    from weightsearch.analysis.gradient_ratio import Pull
    from weightsearch.analysis.quantisation import Quantisation
    from weightsearch.analysis.verdict import Contender, Sentence
    from weightsearch.data.check import DataCheck, VideoCheck
    from weightsearch.search.comparison import Entry
    from weightsearch.search.ledger import Event
    from weightsearch.search.status import Status
    from weightsearch.spec import Configuration
    from weightsearch.study.progress import Progress, RunningTrial
    from weightsearch.study.summary import StudySummary, TrialSummary
    from weightsearch.training.cost import Cost

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, soft_wrap=True)

FAILURES = 5  # failed trials that are told one by one
SHARE_OF_LOOKS = 10  # seconds of pause for each second that a look takes
DETAILED = 4  # running trials whose terms are shown
SPLITS = ("validation", "test")
SILENCE = 30.0  # seconds without a line before an epoch is worth one, where there is no terminal


class View:
    """Progress on the screen: a live view on a terminal, a line for each thing that happens elsewhere. to: where lines
    go; to `err` where the output proper is a table."""

    def __init__(self, *, quiet: bool, to: Console = out) -> None:
        self.quiet = quiet
        self.to = to
        self.live: Live | None = None
        self.status: Status | None = None
        self.study = ""
        self.last = 0.0
        self.warned: set[int] = set()  # trials of which a loss term without pixels was told

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

    def begin(self, status: Status, study: str) -> None:
        self.status, self.study = status, study
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
            "note": f"no more notes for optuna-dashboard: {event.reason}",
            "cluster": f"{event.reason}; starting Ray again, the trials go on from their checkpoints",
            "retried": f"trial {event.number} goes on after a failure of its worker: {event.reason}",
            "again": f"trial {event.number}: {event.reason}",
            "warning": f"warning: {event.reason}",
            "cpu": f"trial {event.number} is trained on another kind of CPU ({event.reason}): results repeat bit for "
            "bit on one kind only, so that values may differ in their last digits",
        }.get(event.kind)
        if told is not None:
            err.print(told, markup=False)
        status = self.status
        if status is None:
            return
        status.take(event)
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
        return Group() if self.status is None else progress_group(self.status.progress(self.study))


def progress_group(now: Progress) -> Group:
    """A study's progress: what has ended, the best so far against the baselines, and of each running trial how much
    every loss term contributes, and its gradient ratio with the place where that was measured."""
    states = now.states
    head = f"{now.ended}{'' if now.total is None else f'/{now.total}'} trials: {states['COMPLETE']} done, "
    head += f"{states['PRUNED']} pruned, {states['FAIL']} failed; {states['RUNNING']} running"
    head += f"; {states['WAITING']} waiting" if states.get("WAITING") else ""
    head += "" if now.elapsed is None else f"; {_duration(now.elapsed)} so far"
    head += f", {_duration(now.left)} left" if now.left else ""
    lines = [Text(head)]
    if now.away:
        lines.append(Text(f"waiting for the database: {now.away}", style="bold red"))
    if now.best is not None:
        number, value = now.best
        lines.append(Text(f"best {now.objective} {value:.4f} (trial {number})", style="bold"))
        lines += [
            Text(f"  against {name} {other:.4f} ({_change(value, other)})") for name, other in now.baselines.items()
        ]
    for trial in now.running[:DETAILED]:
        lines += _running_lines(trial, now)
    if len(now.running) > DETAILED:
        others = now.running[DETAILED:]
        lines.append(Text("  also running: " + ", ".join(f"{one.number} ({one.epoch}/{now.epochs})" for one in others)))
    return Group(*lines)


def _running_lines(trial: RunningTrial, now: Progress) -> list[Text]:
    name = f"  trial {trial.number}" + (f" ({trial.baseline})" if trial.baseline else "")
    value = "" if trial.value is None else f"  {now.objective} {trial.value:.4f}"
    done = trial.epoch / now.epochs if now.epochs else 0.0
    lines = [Text(f"{name}: {_bar(done)} epoch {trial.epoch}/{now.epochs}{value}")]
    if trial.contributions:
        where = "not measured yet" if trial.pull is None else f"{trial.pull.words}, epoch {trial.pull.epoch}"
        lines.append(Text(f"    share of the loss; gradients: {where}", style="dim"))
    width = max((len(term) for term in trial.contributions), default=0)
    for term, share in trial.contributions.items():
        line = f"    {term:{width}}  {_bar(share)} {100 * share:3.0f} % of the loss"
        if trial.pull is not None:
            ratio = trial.pull.ratios.get(term)
            line += "  no gradient" if ratio is None else f"  {_pull(ratio, trial.pull)}"
        lines.append(Text(line, style="dim"))
    return lines


def _pull(ratio: float, pull: Pull) -> str:
    return f"{_bar(ratio / len(pull.ratios))} {ratio:.2g} of the mean gradient"


def _bar(share: float) -> str:
    """A share of 1 as a bar of ten places."""
    eighths = round(80 * min(max(share, 0.0), 1.0)) if math.isfinite(share) else 0
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(10, "░")


def follow(look: Callable[[], Progress], every: float, *, once: bool) -> None:
    """Show a study's progress until Ctrl-C, or until nothing is left to be done: live on a terminal, elsewhere a block
    of lines whenever something has changed. Raises WeightsearchError if the first look does; later ones may fail."""
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
    """After a pause, longer where a look takes long: a large study is not read all the time. A database that is away
    comes back, or does not: the last that was seen stays on the screen, with the reason."""
    time.sleep(max(every, SHARE_OF_LOOKS * before.seconds))
    try:
        now = look()
    except StoreUnavailable as error:
        return replace(before, away=str(error))
    return now


def _over(now: Progress) -> bool:
    """Whether nobody works on the study and nothing is left to be done."""
    return now.ended > 0 and not now.drivers and not now.states["RUNNING"] and not now.states["WAITING"]


def print_claims(claims: Sequence[Claim]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 1, 0))
    for name, ratio in (("of", 1), ("claim", 4), ("verdict", 2), ("right", 5), ("how", 3)):
        table.add_column(name, ratio=ratio, overflow="fold")
    for claim in claims:
        _add(table, claim.source, claim.with_place, claim.verdict, claim.with_evidence, claim.how)
    out.print(table, soft_wrap=False)


def print_quantisation(found: Sequence[Quantisation]) -> None:
    """A row for each number of levels; errors in millimetres."""
    first = found[0]
    table = _table("levels", "bits", "one output: step", "largest", "mean", "two outputs: largest", "mean", "mm")
    for one in found:
        errors = (one.single.step, one.single.largest_error, one.single.mean_error, one.largest_error, one.mean_error)
        _add(table, str(one.single.levels), f"{one.single.bits:.2f}", *(f"{1000 * error:.4g}" for error in errors), "")
    out.print(table)
    out.print(
        f"depth {first.min_depth:g} to {first.max_depth:g} m; the integer target has {first.targets} values, "
        f"{first.target_bits:.2f} bits for evenly spread depth; the two outputs are decoded by the form {first.decode}",
        markup=False,
    )
    depths = [depth for depth in (0.5, 1, 2, 3, 5, 10, 15, 20, 40, 80) if first.min_depth <= depth <= first.max_depth]
    table = _table("largest relative error at", *(f"{depth:g} m" for depth in depths))
    for one in found:
        for name, error in (("one output", one.single.largest_error), ("two outputs", one.largest_error)):
            cells = (f"{100 * error / depth:.3g} %" for depth in depths if depth)
            _add(table, f"{name}, {one.single.levels} levels", *cells)
    out.print(table)


def print_result(summary: StudySummary, best_file: Path | None, study_file: Path) -> None:
    counts = ", ".join(f"{count} {state}" for state, count in summary.states.items() if count) or "no trials"
    out.print(f"study {summary.study}: {counts}", markup=False)
    failed = [trial for trial in summary.trials if trial.reason and trial.state == "FAIL"]
    for trial in failed[:FAILURES]:
        out.print(f"  trial {trial.number} failed: {trial.reason}", markup=False)
    if len(failed) > FAILURES:
        out.print(f"  and {len(failed) - FAILURES} more; all are written by: {_export(study_file)}", markup=False)
    if summary.states["WAITING"] or summary.states["RUNNING"]:
        out.print(f"  resume with: {command('weightsearch', 'run', study_file)}", markup=False)
    if summary.best is None:
        return
    out.print(_comparison(summary, summary.best))
    name = "" if summary.best.baseline is None else f", the baseline {summary.best.baseline!r}"
    out.print(f"best: trial {summary.best.number}{name}", markup=False)
    for path, value in summary.best.params.items():
        out.print(f"  {path}: {text_of(value)}", markup=False)
    if len(summary.front) > 1:
        numbers = ", ".join(str(trial.number) for trial in summary.front)
        out.print(f"Pareto-optimal trials: {numbers}", markup=False)
    print_verdict(summary.sentences())
    if best_file is not None:
        out.print(f"written: {best_file}; train it with: {command('weightsearch', 'train', best_file)}", markup=False)


def _export(study_file: Path) -> str:
    return command("weightsearch", "export", study_file, "--trials", "trials.csv")


def print_verdict(said: Sequence[Sentence], study: str = "") -> None:
    """What can be said of a study's best trial, a line a sentence. study: its name, beside others."""
    for sentence in said:
        text = f"{study}: {sentence.text}" if study else sentence.text
        out.print(text, style="bold red" if sentence.warning else None, markup=False)


def print_compared(objective: str, entries: Sequence[Entry]) -> None:
    """A row for each set of weights on a study's data: mean and spread of the objective, the weights, and what else is
    searched."""
    splits = [split for split in ("validation", "test") if any(entry.values.get(split) for entry in entries)]
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


def print_metrics(found: Mapping[str, Mapping[str, float]], split: str) -> None:
    """A row for every metric, a column for whoever predicts."""
    table = _table(f"on {split}", *found)
    for name in dict.fromkeys(name for metrics in found.values() for name in metrics):
        _add(table, name, *(f"{metrics[name]:.4g}" if name in metrics else "-" for metrics in found.values()))
    out.print(table)


def print_data_check(found: DataCheck, configuration: Configuration) -> None:
    """A row a video, then the splits and what is in none, then a line for every problem. Of a data set of flow without
    any depth: its flow."""
    low, high = configuration.data.min_depth, configuration.data.max_depth
    of_flow = any(video.flow is not None for video in found.videos) and all(video.known == 0 for video in found.videos)
    depth = ("depth from", "median", "to", "known", f"in {low:g}-{high:g} m")
    table = _table("video", "frames", "size", *(("median flow", "longest", "known") if of_flow else depth), "poses")
    for video in found.videos:
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
    if found.splits is not None:
        out.print(", ".join(f"{name} {count}" for name, count in found.splits.items()) + " frames", markup=False)
        unused = {
            f"left out at the cuts (data.split.gap {configuration.data.split.gap})": found.in_gaps,
            "in no split (the fractions of data.split add up to less than 1)": found.beyond,
            "left out: a neighbour is missing (data.neighbours)": found.alone,
            "left out: their depth is missing": found.left_out,
        }
        for why, count in unused.items():
            if count:
                out.print(f"{count} {'frame is' if count == 1 else 'frames are'} {why}", markup=False)
        out.print(f"{sum(found.splits.values()) + sum(unused.values())} frames in all", markup=False)
    some = f"; depth is measured on one frame in {found.every} of each video" if found.every > 1 else ""
    out.print(f"{found.files} files read" if found.files else f"computed, no files{some}", markup=False)
    for problem in found.problems:
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
    """A row of plain text: names may hold what rich would take for markup."""
    table.add_row(*map(Text, cells))


def _comparison(summary: StudySummary, best_trial: TrialSummary) -> Table:
    """The best trial against every baseline, on both splits, and against trivial baselines that ignore the image; the
    change is the best's against theirs. Where trials were trained with fresh seeds, their means as well."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    columns = [(name, split, False) for name in summary.directions for split in SPLITS]
    best = summary.contender(best_trial)
    columns += [(name, split, True) for name in summary.directions for split in SPLITS if best.seeds(name, split)]
    for name, split, fresh in columns:
        table.add_column(f"{name} {split}" + (", fresh seeds" if fresh else ""), justify="right")
        table.add_column("best vs this", justify="right")

    def add(label: str, values: Sequence[float | None], state: str = "-") -> None:
        cells = [label]
        for value, mine in zip(values, of_best, strict=True):
            cells.append(state if value is None else f"{value:.4f}")
            cells.append("" if label == "best" or value is None or mine is None else _change(mine, value))
        _add(table, *cells)

    of_best = [_value(best, *column) for column in columns]
    add("best", of_best)
    for label, trial in summary.baselines.items():
        values = [_value(summary.contender(trial), *column) for column in columns]
        add(label, values, "-" if trial.state == "COMPLETE" else trial.state)
    for label in dict.fromkeys(label for of in summary.trivial.values() for label in of):
        add(label, [summary.trivial[split].get(label, {}).get(name) for name, split, _ in columns])
    return table


def _value(contender: Contender, objective: str, split: str, fresh: bool) -> float | None:
    if not fresh:
        return contender.searched(objective, split)
    return contender.expected(objective, split) if contender.seeds(objective, split) else None


def _change(mine: float, other: float) -> str:
    return f"{100 * (mine / other - 1):+.1f} %" if other else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
