"""The progress of a study at one moment, for the live view of a driver and `watch`."""

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
    """epoch: the last one that is known, 0 before the first. value: of the objective there. contributions: by term.
    pull: gradient ratios, with the place and the epoch of their measurement; None before the first. host: where the
    trial is trained, empty if unknown."""

    number: int
    epoch: int
    baseline: str | None = None
    value: float | None = None
    contributions: Mapping[str, float] = field(default_factory=dict)
    pull: Pull | None = None
    host: str = ""


@dataclass(frozen=True)
class Ended:
    """A COMPLETE trial. value: of the first objective."""

    value: float
    baseline: str | None


@dataclass(frozen=True)
class Counts:
    """The trials of a study, those of all drivers. ended: trial -> its state. running: how many are RUNNING. full:
    COMPLETE trials that were not known yet, by number."""

    ended: Mapping[int, str]
    running: int
    full: Mapping[int, Ended]


def read_counts(store: StudyStore, known: Collection[int]) -> Counts:
    """Count a study's trials. known: COMPLETE trials that need not be read again."""
    rows = store.states()
    full = {}
    for row in rows:
        if row.state == TrialState.COMPLETE and row.number not in known:
            trial = store.trial(row.number)
            full[row.number] = Ended(trial.values[0], trial.user_attrs.get(BASELINE))
    ended = {row.number: row.state.name for row in rows if row.state.is_finished()}
    return Counts(ended, sum(row.state == TrialState.RUNNING for row in rows), full)


@dataclass(frozen=True)
class Progress:
    """total: trials that the study will have, where that is known. epochs: of a full trial. best: number and value of
    the best full trial. drivers: who runs the study. elapsed, left: seconds, where they are known. away: why the
    database does not answer. seconds: that it took to read this."""

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
    """A trial after its last epoch."""
    shares = {name: term.contribution for name, term in terms.items()}
    return RunningTrial(number, epoch, baseline, value, shares, pull)


def read_progress(store: StudyStore, total: int | None = None) -> Progress:
    """A study's progress as its database has it, whoever runs it and wherever."""
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
        baselines={name: one.values[objective] for name, one in summary.baselines.items() if one.values},
        running=running,
        drivers=drivers,
        seconds=time.monotonic() - started,
    )


def _running(store: StudyStore, number: int, objective: str, baseline: str | None) -> RunningTrial:
    if not (epoch := store.epoch_that_counts(number)):
        return RunningTrial(number, 0, baseline)
    value = store.metrics(number).get(objective)
    return running_trial(number, epoch, store.terms(number), value, baseline, pull_of(store.norms(number)))
