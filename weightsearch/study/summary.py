"""A study's results: counts, the best trial, the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from weightsearch.analysis.domination import non_dominated
from weightsearch.analysis.verdict import TEST, VALIDATION, Contender, Sentence, Verdict, judge
from weightsearch.config import StudyConfig
from weightsearch.config.ranges import Choices, Range, as_written, label
from weightsearch.errors import CALL, called
from weightsearch.study.lease import living
from weightsearch.study.store import BASELINE, NAIVE, NAIVE_ON_TEST, REASON, WARNINGS, StudyStore

STATES: Final = ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")


@dataclass(frozen=True)
class TrialSummary:
    """values: objective -> value on the validation split. params: dotted path -> value in the configuration, those of a
    baseline as the study file gives them."""

    number: int
    state: str
    values: dict[str, float]
    params: dict[str, Any]
    baseline: str | None
    reason: str | None
    epochs: int


@dataclass(frozen=True)
class StudySummary:
    """best: the COMPLETE trial with the best first objective, or None; of several the one on the front. front: the
    COMPLETE trials that no other dominates, by number (for one objective: the best alone). naive: objectives, on the
    validation split, of trivial baselines that ignore the image, by their names; naive_test: the same on the test
    split, empty in studies of older versions. tested: trial -> metrics on the test split. fresh: trial -> split ->
    metric -> seed -> value, of trainings with new seeds. data_warnings: about the unit of the depth and the crop.
    call: how commands name the study. hosts: where each running trial is
    trained. drivers: those that run the study now."""

    study: str
    directions: dict[str, str]
    states: dict[str, int]
    best: TrialSummary | None
    front: tuple[TrialSummary, ...]
    baselines: dict[str, TrialSummary]
    trials: tuple[TrialSummary, ...]
    naive: dict[str, dict[str, float]]
    naive_test: dict[str, dict[str, float]] = field(default_factory=dict)
    tested: dict[int, dict[str, float]] = field(default_factory=dict)
    fresh: dict[int, dict[str, dict[str, dict[int, float]]]] = field(default_factory=dict)
    data_warnings: tuple[str, ...] = ()
    call: tuple[str, ...] = CALL
    hosts: dict[int, str] = field(default_factory=dict)
    drivers: tuple[str, ...] = ()

    @property
    def trivial(self) -> dict[str, dict[str, dict[str, float]]]:
        """Split -> trivial baseline that ignores the image -> objective -> value."""
        return {VALIDATION: self.naive, TEST: self.naive_test}

    def contender(self, trial: TrialSummary) -> Contender:
        """A COMPLETE trial's values in the search and with new seeds."""
        return Contender(
            {VALIDATION: trial.values, TEST: self.tested.get(trial.number, {})}, self.fresh.get(trial.number, {})
        )

    def verdict(self) -> Verdict | None:
        """The verdict on the best trial; None without one."""
        if self.best is None:
            return None
        others = {
            name: self.contender(trial)
            for name, trial in self.baselines.items()
            if trial.number != self.best.number and trial.state == "COMPLETE"
        }
        return judge(self.contender(self.best), others, self.trivial, self.directions)

    def sentences(self, name: str | None = None) -> list[Sentence]:
        """The verdict in plain words. name: of the best trial."""
        verdict = self.verdict()
        return self.about_data() + ([] if verdict is None else self.worded(verdict, name))

    def about_data(self) -> list[Sentence]:
        """The warnings about the data set, which come before any verdict."""
        return [Sentence(f"Warning: {line}", warning=True) for line in self.data_warnings]

    def worded(self, verdict: Verdict, name: str | None = None) -> list[Sentence]:
        """A verdict on the best trial in plain words. name: of the best trial."""
        remark = ""
        if self.best is not None and self.best.baseline is not None:
            remark = f"no searched trial has a better {verdict.objective}"
        trials = self.states["COMPLETE"]
        compare = called(self.call, "compare", "--seeds", 3)
        return verdict.sentences(name or self.best_name, remark, trials=trials, compare=compare)

    @property
    def best_name(self) -> str:
        """The best trial's name in a sentence."""
        if self.best is None or self.best.baseline is None:
            return f"trial {'' if self.best is None else self.best.number}"
        return f"the baseline “{self.best.baseline}”"

    def to_plain(self) -> dict[str, Any]:
        """The plain values that `show --json` prints."""
        best = self.best
        return {
            "study": self.study,
            "directions": self.directions,
            "states": self.states,
            "running": [
                {"number": one.number, "epochs": one.epochs, "host": self.hosts.get(one.number)}
                for one in self.trials
                if one.state == "RUNNING"
            ],
            "best": None if best is None else {"number": best.number, "values": best.values, "params": best.params},
            "baselines": {name: {"values": one.values, "params": one.params} for name, one in self.baselines.items()},
            "naive": self.naive,
            "naive_test": self.naive_test,
            "verdict": [one.text for one in self.sentences()],
            "front": [{"number": one.number, "values": one.values, "params": one.params} for one in self.front],
        }


def summarise(store: StudyStore) -> StudySummary:
    """Read a study's trials from its database."""
    directions: dict[str, str] = dict(store.config["objectives"])
    epochs = store.epochs()
    trials = tuple(_trial(store.study_config, frozen, epochs.get(frozen.number, 0)) for frozen in store.trials())
    complete = [trial for trial in trials if trial.state == "COMPLETE"]
    first, direction = next(iter(directions.items()))
    front = _front(complete, directions)
    best = min(front, key=lambda trial: _sign(direction) * trial.values[first], default=None)
    if len(directions) == 1:
        front = front[:1]  # of several that are equally good the first
    return StudySummary(
        study=store.study.study_name,
        directions=directions,
        states={state: sum(trial.state == state for trial in trials) for state in STATES},
        best=best,
        front=front,
        baselines={trial.baseline: trial for trial in trials if trial.baseline is not None},
        trials=trials,
        naive=dict(store.config.get(NAIVE, {})),
        naive_test=dict(store.config.get(NAIVE_ON_TEST, {})),
        tested=store.tested(),
        fresh=store.fresh(),
        data_warnings=tuple(store.config.get(WARNINGS, {}).get("lines", ())),
        call=store.call,
        hosts=store.hosts(),
        drivers=_drivers(store),
    )


def parameters(study: StudyConfig, frozen: FrozenTrial) -> dict[str, Any]:
    """The values that a trial puts into the configuration, by dotted path."""
    baseline = frozen.user_attrs.get(BASELINE)
    if baseline is not None:
        values = study.search.baselines[baseline]
        return {
            name: as_written(found, value) if isinstance(found := study.space.get(name), Choices) else value
            for name, value in values.items()
        }
    return decode(study.space, frozen.params)


def decode(space: Mapping[str, Range], params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as the database has them -> values of the study file: lists and mappings are stored as JSON text."""
    result = dict(params)
    for name, found in space.items():
        if isinstance(found, Choices) and name in params:
            for choice in found.values:
                if isinstance(choice, (list, dict)) and label(choice) == params[name]:
                    result[name] = choice
    return result


def _trial(study: StudyConfig, frozen: FrozenTrial, epochs: int) -> TrialSummary:
    complete = frozen.state == TrialState.COMPLETE
    values = dict(zip(study.search.objectives, frozen.values, strict=True)) if complete else {}
    return TrialSummary(
        number=frozen.number,
        state=frozen.state.name,
        values=values,
        params=parameters(study, frozen),
        baseline=frozen.user_attrs.get(BASELINE),
        reason=frozen.user_attrs.get(REASON),
        epochs=epochs,
    )


def _drivers(store: StudyStore) -> tuple[str, ...]:
    with store.database.reading() as connection:
        return tuple(f"{one.process.owner} (process {one.process.pid})" for one in living(store, connection))


def _front(trials: Sequence[TrialSummary], directions: Mapping[str, str]) -> tuple[TrialSummary, ...]:
    """The trials that no other dominates."""
    losses = [[_sign(way) * trial.values[name] for name, way in directions.items()] for trial in trials]
    mask = non_dominated(np.array(losses, dtype=np.float64).reshape(len(trials), len(directions)))
    return tuple(trial for trial, is_best in zip(trials, mask, strict=True) if is_best)


def _sign(direction: str) -> int:
    return 1 if direction == "minimize" else -1
