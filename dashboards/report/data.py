"""Data of a study, read once, from which the report and the dashboard's notes are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from weightsearch.config import StudyConfig
from weightsearch.config.paths import fill
from weightsearch.errors import counted
from weightsearch.records import Picture
from weightsearch.study.frames import Frames
from weightsearch.study.store import CONTENT, StudyStore
from weightsearch.study.summary import StudySummary, TrialSummary, summarise

ENOUGH: Final = 30  # trials that suffice for conclusions


@dataclass(frozen=True)
class Comparable:
    """Comparable values of the objective, by trial number. epoch: the values' epoch; None for final values."""

    values: pd.Series[float]
    epoch: int | None

    @property
    def words(self) -> str:
        count = counted(len(self.values), "trial")
        if self.epoch is None:
            return f"{count} that trained to the end"
        return f"the values of {count} at epoch {self.epoch}, because too few trained to the end"


@dataclass(frozen=True)
class ReportData:
    """Data of a study.

    objective: the first objective. shown: label -> number of each trial that is examined closely: the best trial, then
    the baselines that reported an epoch. space: distributions of the searched values. params: trial number ->
    parameters as Optuna stores them. protocol, environment: of the best trial, or of the last trial that reported.
    pictures: trial number -> pictures. frames_of_splits: split -> number of frames.
    """

    name: str
    config: StudyConfig
    summary: StudySummary
    frames: Frames
    objective: str
    minimize: bool
    shown: dict[str, int]
    space: dict[str, BaseDistribution]
    params: dict[int, dict[str, Any]]
    protocol: dict[str, Any]
    environment: dict[str, Any]
    pictures: dict[int, list[Picture]]
    frames_of_splits: dict[str, int] = field(default_factory=dict)

    @property
    def best(self) -> TrialSummary | None:
        return self.summary.best

    @property
    def complete(self) -> pd.DataFrame:
        trials = self.frames.trials
        return trials[trials["state"] == "COMPLETE"]

    @property
    def terms(self) -> list[str]:
        """Names of the loss terms, in the order of the study file."""
        return list(self.config.base.loss)

    @property
    def epochs(self) -> int:
        """Number of epochs of a full trial; 0 if it is searched."""
        return 0 if "train.epochs" in self.config.space else self.config.base.train.epochs

    @property
    def fixed_weights(self) -> dict[str, float]:
        """Term -> weight, of the weights that are not searched."""
        loss = self.config.base.loss
        return {name: term.weight for name, term in loss.items() if f"loss.{name}.weight" not in self.config.space}

    @property
    def ranges(self) -> dict[str, tuple[float, float, bool]]:
        """Parameter -> (low, high, log scale), of the searched numbers."""
        return {
            name: (float(distribution.low), float(distribution.high), distribution.log)
            for name, distribution in self.space.items()
            if isinstance(distribution, (FloatDistribution, IntDistribution))
        }

    def comparable(self) -> Comparable:
        """Select comparable values of the objective.

        Final values if enough trials are complete; otherwise (pruning leaves few complete trials) values at the last
        epoch that enough trials have reached.
        """
        complete = self.complete.set_index("number")[self.objective].astype(float)
        if len(complete) >= ENOUGH:
            return Comparable(complete, None)
        curves = self.frames.curves[self.frames.curves["metric"] == self.objective].dropna(subset="value")
        counts = curves.groupby("epoch")["number"].nunique()
        usable = counts[counts >= min(ENOUGH, counts.max())] if len(counts) else counts
        if usable.empty or int(usable.iloc[-1]) <= len(complete):
            return Comparable(complete, None)
        epoch = int(usable.index[-1])
        return Comparable(curves[curves["epoch"] == epoch].set_index("number")["value"].astype(float), epoch)

    @cached_property
    def _weights(self) -> dict[int, dict[str, float]]:
        """Trial number -> term -> weight, of every trial that reported."""
        weights: dict[int, dict[str, float]] = {}
        rows = self.frames.rows("weight", "term").drop_duplicates(["number", "term"])
        for number, term, weight in zip(rows["number"], rows["term"], rows["value"], strict=True):
            weights.setdefault(int(number), {})[str(term)] = float(weight)
        return weights

    def configuration(self, number: int) -> dict[str, Any]:
        """The study file's sections with a trial's values filled in."""
        params = next(trial.params for trial in self.summary.trials if trial.number == number)
        return fill(self.config.tree, params)

    def weights(self, number: int) -> dict[str, float]:
        """Term -> weight of a trial; empty for a trial that never reported."""
        weights = self._weights.get(number, {})
        return {term: weights[term] for term in self.terms if term in weights}


def _frames_of_splits(store: StudyStore) -> dict[str, int]:
    """Split -> number of frames; empty for a study that has not read its dataset yet."""
    content: Mapping[str, float] = store.config.get(CONTENT, {})
    counts = {split: content.get(f"{split} frames") for split in ("train", "validation", "test")}
    return {split: int(count) for split, count in counts.items() if count}


def read_report_data(store: StudyStore, *, pictures: bool = True) -> ReportData:
    """Read a study; it may be running, be empty, or have failed trials only."""
    summary = summarise(store)
    frames = Frames.read(store, summary)
    objective, direction = next(iter(summary.directions.items()))
    reported = set(frames.epochs["number"])
    shown: dict[str, int] = {}
    if summary.best is not None:
        mine = summary.best
        shown["best" if mine.baseline is None else f"best ({mine.baseline})"] = mine.number
    for name, trial in summary.baselines.items():
        if trial.number in reported and trial.number not in shown.values():
            shown[name] = trial.number
    frozen_trials = store.trials()
    space: dict[str, BaseDistribution] = {}
    for frozen in frozen_trials:
        space |= frozen.distributions
    source = summary.best.number if summary.best is not None else max(reported, default=None)
    protocol, environment = ({}, {}) if source is None else store.protocol_and_environment(int(source))
    return ReportData(
        name=summary.study,
        config=store.study_config,
        summary=summary,
        frames=frames,
        objective=objective,
        minimize=direction == "minimize",
        shown=shown,
        space=space,
        params={frozen.number: dict(frozen.params) for frozen in frozen_trials},
        protocol=protocol,
        environment=environment,
        pictures={number: store.pictures(number) for number in shown.values()} if pictures else {},
        frames_of_splits=_frames_of_splits(store),
    )
