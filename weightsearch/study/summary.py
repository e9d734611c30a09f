"""Results of a study: counts, the best trial, the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from weightsearch.analysis.domination import non_dominated
from weightsearch.analysis.verdict import Contender, Sentence, Verdict, judge
from weightsearch.config import StudyConfig
from weightsearch.config.ranges import Choices, Range, as_written, label
from weightsearch.errors import CALL, called
from weightsearch.records import TEST, VALIDATION
from weightsearch.study.lease import living
from weightsearch.study.store import BASELINE, NAIVE, NAIVE_ON_TEST, REASON, WARNINGS, StudyStore

STATES: Final = ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")


@dataclass(frozen=True)
class TrialSummary:
    """A trial. values: objective -> value on the validation split. params: dotted path -> value in the configuration;
    of a baseline, as in the study file."""

    number: int
    state: str
    values: dict[str, float]
    params: dict[str, Any]
    baseline: str | None
    reason: str | None
    epochs: int


@dataclass(frozen=True)
class StudySummary:
    """Results of a study.

    best: COMPLETE trial with the best first objective, on the front if tied; None without a COMPLETE trial. front:
    Pareto-optimal trials, by number (with one objective, the best trial only). naive: name -> objective -> value on the
    validation split, of trivial baselines that ignore the image. naive_test: the same on the test split, empty in
    studies of older versions. tested: trial -> metrics on the test split. retrained: trial -> split -> metric -> seed
    -> value, of trainings with new seeds. data_warnings: on the unit of the depth and the crop. call: study file and
    overrides, for commands in messages. hosts: host of each running trial. drivers: drivers that run the study now."""

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
    retrained: dict[int, dict[str, dict[str, dict[int, float]]]] = field(default_factory=dict)
    data_warnings: tuple[str, ...] = ()
    call: tuple[str, ...] = CALL
    hosts: dict[int, str] = field(default_factory=dict)
    drivers: tuple[str, ...] = ()

    @property
    def trivial(self) -> dict[str, dict[str, dict[str, float]]]:
        """Split -> trivial baseline that ignores the image -> objective -> value."""
        return {VALIDATION: self.naive, TEST: self.naive_test}

    def contender(self, trial: TrialSummary) -> Contender:
        """Values of a COMPLETE trial in the search and with new seeds."""
        return Contender(
            {VALIDATION: trial.values, TEST: self.tested.get(trial.number, {})}, self.retrained.get(trial.number, {})
        )

    def verdict(self) -> Verdict | None:
        """Verdict on the best trial; None without a best trial."""
        if self.best is None:
            return None
        others = {
            name: self.contender(trial)
            for name, trial in self.baselines.items()
            if trial.number != self.best.number and trial.state == "COMPLETE"
        }
        return judge(self.contender(self.best), others, self.trivial, self.directions)

    def sentences(self, name: str | None = None) -> list[Sentence]:
        """Warnings about the dataset and the verdict, in words. name: of the best trial."""
        verdict = self.verdict()
        return self.about_data() + ([] if verdict is None else self.worded(verdict, name))

    def about_data(self) -> list[Sentence]:
        """Warnings about the dataset, which precede any verdict."""
        return [Sentence(f"Warning: {line}", warning=True) for line in self.data_warnings]

    def worded(self, verdict: Verdict, name: str | None = None) -> list[Sentence]:
        """Verdict on the best trial, in words. name: of the best trial."""
        remark = ""
        if self.best is not None and self.best.baseline is not None:
            searched = any(trial.baseline is None and trial.epochs for trial in self.trials)
            remark = (
                f"no searched trial has a better {verdict.objective}" if searched else "no weights were searched yet"
            )
        trials = self.states["COMPLETE"]
        compare = called(self.call, "compare", "--seeds", 3)
        return verdict.sentences(name or self.best_name, remark, trials=trials, compare=compare)

    @property
    def best_name(self) -> str:
        """Name of the best trial in a sentence."""
        if self.best is None or self.best.baseline is None:
            return f"trial {'' if self.best is None else self.best.number}"
        return f"the baseline “{self.best.baseline}”"

    def to_plain(self) -> dict[str, Any]:
        """Plain values, as printed by `show --json`."""
        best = self.best
        return {
            "study": self.study,
            "directions": self.directions,
            "states": self.states,
            "running": [
                {"number": trial.number, "epochs": trial.epochs, "host": self.hosts.get(trial.number)}
                for trial in self.trials
                if trial.state == "RUNNING"
            ],
            "best": None if best is None else {"number": best.number, "values": best.values, "params": best.params},
            "baselines": {
                name: {"values": trial.values, "params": trial.params} for name, trial in self.baselines.items()
            },
            "naive": self.naive,
            "naive_test": self.naive_test,
            "verdict": [sentence.text for sentence in self.sentences()],
            "front": [{"number": trial.number, "values": trial.values, "params": trial.params} for trial in self.front],
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
        front = front[:1]  # the first, if several are equally good
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
        retrained=store.retrained(),
        data_warnings=tuple(store.config.get(WARNINGS, {}).get("lines", ())),
        call=store.call,
        hosts=store.hosts(),
        drivers=_drivers(store),
    )


def parameters(study: StudyConfig, frozen: FrozenTrial) -> dict[str, Any]:
    """Values of a trial in the configuration, by dotted path."""
    baseline = frozen.user_attrs.get(BASELINE)
    if baseline is not None:
        values = study.search.baselines[baseline]
        return {
            name: as_written(allowed, value) if isinstance(allowed := study.space.get(name), Choices) else value
            for name, value in values.items()
        }
    return decode(study.space, frozen.params)


def decode(space: Mapping[str, Range], params: Mapping[str, Any]) -> dict[str, Any]:
    """Convert parameters of the database to values of the study file: lists and mappings are stored as JSON text."""
    result = dict(params)
    for name, allowed in space.items():
        if isinstance(allowed, Choices) and name in params:
            for choice in allowed.values:
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
        return tuple(f"{holder.process.owner} (process {holder.process.pid})" for holder in living(store, connection))


def _front(trials: Sequence[TrialSummary], directions: Mapping[str, str]) -> tuple[TrialSummary, ...]:
    """Pareto-optimal trials."""
    losses = [[_sign(way) * trial.values[name] for name, way in directions.items()] for trial in trials]
    mask = non_dominated(np.array(losses, dtype=np.float64).reshape(len(trials), len(directions)))
    return tuple(trial for trial, is_best in zip(trials, mask, strict=True) if is_best)


def _sign(direction: str) -> int:
    return 1 if direction == "minimize" else -1
