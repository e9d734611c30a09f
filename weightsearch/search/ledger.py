"""The driver's decisions: which trial is next, what a report means, how a trial ends. Knows the database, not Ray, and
holds nothing that cannot be read from the database again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from weightsearch.errors import StoreError
from weightsearch.plugins import build
from weightsearch.records import EpochRecord
from weightsearch.search.samplers import Grid, MakeSampler
from weightsearch.search.space import distributions, inside
from weightsearch.spec import StudySpec
from weightsearch.study.store import BASELINE, Attempt, StudyStore
from weightsearch.study.summary import parameters


@dataclass(frozen=True)
class Assignment:
    """A trial to be trained: its number, the values that it puts into the configuration, its baseline's name."""

    number: int
    values: dict[str, Any]
    baseline: str | None


@dataclass(frozen=True)
class Event:
    """Something that happened to a trial. kind: started, epoch, complete, pruned, failed, retried."""

    kind: str
    number: int
    baseline: str | None = None
    record: EpochRecord | None = None
    reason: str | None = None


Listener = Callable[[Event], None]


def stored_spec(spec: StudySpec) -> dict[str, Any]:
    """What the database keeps of a study file."""
    return {
        "tree": dict(spec.tree),
        "objectives": dict(spec.search.objectives),
        "baselines": spec.search.baselines,
    }


class Ledger:
    """One driver's view of a study. `next` hands out trials, `report` and `fail` take what becomes of them.

    Trials that the last driver left RUNNING are taken up again first, under their own numbers.
    """

    def __init__(self, spec: StudySpec, store: StudyStore, listener: Listener | None = None) -> None:
        self.spec = spec
        self.store = store
        self.listener = listener or (lambda _: None)
        search = spec.search
        context = {"epochs": spec.base.train.epochs}
        self.make_sampler: MakeSampler = build("sampler", search.sampler.name, search.sampler.options, context)
        self.pruner: BasePruner | None = None
        if search.pruner.name != "none":
            self.pruner = build("pruner", search.pruner.name, search.pruner.options, context)
        self.space = distributions(spec.space)
        self.running: dict[int, Assignment] = {}
        self._reclaim()
        self._enqueue_baselines()

    def next(self) -> Assignment | None:
        """A trial to train now, or None when every trial of the study has been handed out."""
        trials = self.store.trials()
        waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
        number = waiting[0].number if waiting else len(trials)
        if not waiting and len(trials) >= self.spec.search.trials:
            return None
        sampler = self.make_sampler(self.spec.base.seed, number, self.spec.space)
        if not waiting and isinstance(sampler, Grid) and len(sampler.taken(self.store.study)) >= sampler.size:
            return None
        frozen = self.store.ask(sampler, self.space)
        if frozen.number != number:
            raise StoreError(f"trial {frozen.number} was started where {number} was due: does another driver run?")
        assignment = self._assignment(frozen)
        self.running[number] = assignment
        self._tell("started", number)
        return assignment

    def report(self, number: int, attempt: Attempt, records: list[EpochRecord]) -> bool:
        """Store epochs of a running trial. True if the trial shall stop: it is at its end, or was pruned."""
        if number not in self.running:
            return True  # late news of a trial that has ended
        assignment = self.running[number]
        for record in self.store.record(number, attempt, records):
            self._tell("epoch", number, record=record)
            if record.epoch >= self._epochs(assignment):
                self.store.complete(number)
                return self._end("complete", number)
            if self._prunes(assignment):
                self.store.prune(number)
                return self._end("pruned", number)
        if self.store.last_epoch(number) >= self._epochs(assignment):  # its end was stored, its outcome was not
            self.store.complete(number)
            return self._end("complete", number)
        return False

    def fail(self, number: int, reason: str) -> None:
        """A running trial cannot go on. reason: one line."""
        if number in self.running:
            self.store.fail(number, reason)
            self._end("failed", number, reason)

    def put_back(self) -> list[int]:
        """Let all running trials wait for the next driver. Returns their numbers."""
        numbers = list(self.running)
        for number in numbers:
            self.store.put_back(number)
            del self.running[number]
        return numbers

    def _prunes(self, assignment: Assignment) -> bool:
        if self.pruner is None or assignment.baseline is not None:
            return False
        return self.store.should_prune(assignment.number, self.pruner)

    def _epochs(self, assignment: Assignment) -> int:
        return int(assignment.values.get("train.epochs", self.spec.base.train.epochs))

    def _assignment(self, frozen: FrozenTrial) -> Assignment:
        return Assignment(frozen.number, parameters(self.store.spec, frozen), frozen.user_attrs.get(BASELINE))

    def _reclaim(self) -> None:
        for trial in self.store.trials():
            if trial.state == TrialState.RUNNING:
                self.store.put_back(trial.number)

    def _enqueue_baselines(self) -> None:
        known = {trial.user_attrs.get(BASELINE) for trial in self.store.trials()}
        baselines: Mapping[str, Mapping[str, Any]] = self.store.spec["baselines"]
        for name, values in baselines.items():
            if name not in known:
                self.store.enqueue_baseline(name, inside(self.spec.space, values))

    def _end(self, kind: str, number: int, reason: str | None = None) -> bool:
        self._tell(kind, number, reason=reason)
        del self.running[number]
        return True

    def _tell(self, kind: str, number: int, *, record: EpochRecord | None = None, reason: str | None = None) -> None:
        self.listener(Event(kind, number, self.running[number].baseline, record, reason))
