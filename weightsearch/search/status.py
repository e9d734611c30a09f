"""State of a search for the live view, updated by the ledger's events."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from weightsearch.analysis.gradient_ratio import Pull, later_pull
from weightsearch.config.schema import Train
from weightsearch.records import EpochRecord, TermRecord
from weightsearch.search.ledger import COMPLETE, FAILED, PRUNED, Event
from weightsearch.study.progress import Counts, Progress, running_trial
from weightsearch.study.summary import StudySummary

ENDS: Final = {COMPLETE: "COMPLETE", PRUNED: "PRUNED", FAILED: "FAIL"}


@dataclass
class Status:
    """State of a search. objective: the first objective, on the validation split. total: number of trials of the study.
    train: determines the epoch that counts.

    states: state -> number of ended trials. values: trial -> objective at the epoch that counts so far. full: COMPLETE
    trials. curves: trial -> the metric that `train` watches, per epoch. baselines: name -> trial. running: trial ->
    trained epochs. terms: trial -> terms of its last epoch. pulls: trial -> gradient ratios. lengths: numbers of epochs
    of searched trials that ended here. elsewhere: number of trials that other drivers train. counted: ended trials
    counted by `recount`. away: error message while the database is unavailable.
    """

    objective: str
    minimize: bool
    total: int
    train: Train
    states: dict[str, int]
    values: dict[int, float] = field(default_factory=dict)
    full: set[int] = field(default_factory=set)
    baselines: dict[str, int] = field(default_factory=dict)
    running: dict[int, int] = field(default_factory=dict)
    terms: dict[int, dict[str, TermRecord]] = field(default_factory=dict)
    pulls: dict[int, Pull | None] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    elsewhere: int = 0
    counted: set[int] = field(default_factory=set)
    epochs_here: int = 0
    first_epoch: float | None = None
    away: str | None = None
    curves: dict[int, list[float]] = field(default_factory=dict)
    started: float | None = None
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(cls, summary: StudySummary, total: int, train: Train, clock: Callable[[], float] = time.monotonic) -> Status:
        """State at the start of a driver, with the trials of earlier drivers."""
        name, direction = next(iter(summary.directions.items()))
        states = {state: summary.states[state] for state in ("COMPLETE", "PRUNED", "FAIL")}
        values = {trial.number: trial.values[name] for trial in summary.trials if trial.state == "COMPLETE"}
        baselines = {baseline: trial.number for baseline, trial in summary.baselines.items()}
        return cls(name, direction == "minimize", total, train, states, values, set(values), baselines, clock=clock)

    def take(self, event: Event) -> None:
        if self.started is None:
            self.started = self.clock()
        if event.kind in ("waiting", "back"):
            self.away = event.reason if event.kind == "waiting" else None
        if event.kind == "cluster":
            self.running.clear()
        if event.number is None:
            return
        if event.baseline is not None:
            self.baselines[event.baseline] = event.number
        if event.kind == "started":
            self.running[event.number] = 0
        elif event.kind == "given back":
            self.running.pop(event.number, None)
        elif event.kind == "epoch" and event.record is not None:
            self.running[event.number] = event.record.epoch
            self.terms[event.number] = event.record.terms
            self.pulls[event.number] = later_pull(self.pulls.get(event.number), event.record)
            self.epochs_here += 1
            self.first_epoch = self.clock() if self.first_epoch is None else self.first_epoch
            if self.objective in event.record.metrics and self._counts(event.number, event.record):
                self.values[event.number] = event.record.metrics[self.objective]
        elif event.kind in ENDS:
            self._end(event.number, ENDS[event.kind], searched=event.baseline is None)

    def _end(self, number: int, state: str, *, searched: bool) -> None:
        if number not in self.counted:
            self.states[state] += 1
        length = self.running.pop(number, 0)
        self.terms.pop(number, None)
        self.pulls.pop(number, None)
        if state == "COMPLETE":
            self.full.add(number)
        if searched:
            self.lengths.append(length)

    def recount(self, counts: Counts) -> None:
        """Update the counts with the trials of all drivers in the database."""
        totals = Counter(counts.ended.values())
        self.states = {state: totals[state] for state in ENDS.values()}
        self.counted = set(counts.ended)
        self.elsewhere = max(0, counts.running - sum(number not in counts.ended for number in self.running))
        for number, trial in counts.full.items():
            self.values[number] = trial.value
            self.full.add(number)
            if trial.baseline is not None:
                self.baselines[trial.baseline] = number

    def _counts(self, number: int, record: EpochRecord) -> bool:
        """Return True if this epoch is now the epoch that counts for the trial."""
        curve = self.curves.setdefault(number, [])
        del curve[record.epoch - 1 :]
        curve.append(record.metrics[self.train.watched or self.objective])
        return self.train.epoch_that_counts(len(curve), curve) == len(curve)

    def progress(self, study: str) -> Progress:
        """Progress at this moment."""
        names = {number: name for name, number in self.baselines.items()}
        return Progress(
            study=study,
            objective=self.objective,
            states={**self.states, "RUNNING": len(self.running) + self.elsewhere},
            total=self.total,
            epochs=self.train.epochs,
            best=self.best(),
            baselines=self.baseline_values(),
            running=tuple(
                running_trial(
                    number,
                    epoch,
                    self.terms.get(number, {}),
                    self.values.get(number) if epoch else None,
                    names.get(number),
                    self.pulls.get(number),
                )
                for number, epoch in sorted(self.running.items())
            ),
            elapsed=self.elapsed(),
            left=self.seconds_left(),
            away=self.away,
        )

    @property
    def ended(self) -> int:
        return sum(self.states.values())

    def best(self) -> tuple[int, float] | None:
        """Number and value of the best full trial so far."""
        if not self.full:
            return None
        number = min(self.full, key=lambda trial: self.values[trial] if self.minimize else -self.values[trial])
        return number, self.values[number]

    def baseline_values(self) -> dict[str, float]:
        """Name -> value, of baselines that trained to the end."""
        return {name: self.values[number] for name, number in self.baselines.items() if number in self.full}

    def elapsed(self) -> float:
        """Seconds since this driver's first trial started."""
        return 0.0 if self.started is None else self.clock() - self.started

    def seconds_left(self) -> float | None:
        """Estimated seconds until this driver is done: its remaining epochs at its pace since its first epoch; None
        before the third epoch, since workers start slowly. After three searched trials have ended, a future trial
        counts with their mean length, pruning included. Future trials are shared with other drivers in proportion to
        the running trials."""
        if self.first_epoch is None or self.epochs_here < 3:
            return None
        usual = sum(self.lengths) / len(self.lengths) if len(self.lengths) >= 3 else self.train.epochs
        to_come = max(0, self.total - self.ended - len(self.running) - self.elsewhere)
        here = len(self.running) or 1
        left = to_come * usual * here / (here + self.elsewhere) + sum(
            max(0.0, usual - done) for done in self.running.values()
        )
        return (self.clock() - self.first_epoch) / (self.epochs_here - 1) * left
