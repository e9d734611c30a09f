"""Snapshot of a study's progress, for the live view of a driver and `watch`."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from optuna.trial import TrialState

from weightsearch.analysis.gradient_ratio import Pull, pull_of
from weightsearch.records import TermRecord
from weightsearch.study.lease import living
from weightsearch.study.store import BASELINE, StudyStore
from weightsearch.study.summary import summarise


@dataclass(frozen=True)
class RunningTrial:
    """A RUNNING trial. epoch: last stored epoch, 0 before the first. value: the objective at that epoch. contributions:
    by term. pull: gradient ratios, with where and at which epoch they were measured; None before the first. host: where
    the trial trains, empty if unknown."""

    number: int
    epoch: int
    baseline: str | None = None
    value: float | None = None
    contributions: Mapping[str, float] = field(default_factory=dict)
    pull: Pull | None = None
    host: str = ""


@dataclass(frozen=True)
class Ended:
    """A COMPLETE trial. value: its first objective."""

    value: float
    baseline: str | None


@dataclass(frozen=True)
class Counts:
    """Trials of a study, of all drivers. ended: trial -> state. running: number of RUNNING trials. full: COMPLETE
    trials that the caller had not seen, by number."""

    ended: Mapping[int, str]
    running: int
    full: Mapping[int, Ended]


def read_counts(store: StudyStore, seen: Collection[int]) -> Counts:
    """Count a study's trials. seen: COMPLETE trials that need not be read again."""
    rows = store.states()
    full = {}
    for row in rows:
        if row.state == TrialState.COMPLETE and row.number not in seen:
            trial = store.trial(row.number)
            full[row.number] = Ended(trial.values[0], trial.user_attrs.get(BASELINE))
    ended = {row.number: row.state.name for row in rows if row.state.is_finished()}
    return Counts(ended, sum(row.state == TrialState.RUNNING for row in rows), full)


@dataclass(frozen=True)
class Progress:
    """Progress of a study. total: planned number of trials, None if unknown. epochs: number of epochs of a full trial.
    best: number and value of the best full trial. drivers: drivers that run the study. elapsed, left: seconds, None if
    unknown. away: error message while the database is unavailable. seconds: time that reading this took."""

    study: str
    objective: str
    states: Mapping[str, int]
    total: int | None
    epochs: int
    best: tuple[int, float] | None
    baselines: Mapping[str, float]
    running: tuple[RunningTrial, ...]
    drivers: tuple[str, ...] = ()
    elapsed: float | None = None
    left: float | None = None
    away: str | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def ended(self) -> int:
        return sum(self.states[state] for state in ("COMPLETE", "PRUNED", "FAIL"))


def running_trial(
    number: int,
    epoch: int,
    terms: Mapping[str, TermRecord],
    value: float | None,
    baseline: str | None,
    pull: Pull | None = None,
) -> RunningTrial:
    """Make a RunningTrial from the last epoch of a trial."""
    shares = {name: term.contribution for name, term in terms.items()}
    return RunningTrial(number, epoch, baseline, value, shares, pull)


def read_progress(store: StudyStore, total: int | None = None) -> Progress:
    """Read a study's progress from its database, whichever drivers run it."""
    started = time.monotonic()
    store.forget()
    summary = summarise(store)
    objective = next(iter(summary.directions))
    with store.database.reading() as connection:
        running = tuple(
            replace(
                _running(store, trial.number, objective, trial.user_attrs.get(BASELINE)),
                host=summary.hosts.get(trial.number, ""),
            )
            for trial in store.trials()
            if trial.state == TrialState.RUNNING
        )
        drivers = tuple(map(str, living(store, connection)))
    best = summary.best
    config = store.study_config
    return Progress(
        study=summary.study,
        objective=objective,
        states=summary.states,
        total=total,
        epochs=0 if "train.epochs" in config.space else config.base.train.epochs,
        best=None if best is None else (best.number, best.values[objective]),
        baselines={name: baseline.values[objective] for name, baseline in summary.baselines.items() if baseline.values},
        running=running,
        drivers=drivers,
        seconds=time.monotonic() - started,
    )


def _running(store: StudyStore, number: int, objective: str, baseline: str | None) -> RunningTrial:
    if not (epoch := store.epoch_that_counts(number)):
        return RunningTrial(number, 0, baseline)
    value = store.metrics(number).get(objective)
    return running_trial(number, epoch, store.terms(number), value, baseline, pull_of(store.norms(number)))
