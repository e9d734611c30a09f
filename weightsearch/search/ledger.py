"""The driver's decisions: which trial is next, what a report means, how a trial ends. Knows the database, not Ray, and
holds nothing that cannot be read from the database again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from weightsearch.errors import StoreError
from weightsearch.plugins import build
from weightsearch.records import EpochRecord
from weightsearch.search.samplers import Grid, MakeSampler
from weightsearch.search.space import distributions, inside
from weightsearch.spec import Configuration, StudySpec
from weightsearch.study.store import BASELINE, Attempt, StudyStore
from weightsearch.study.summary import parameters


@dataclass(frozen=True)
class Assignment:
    """A trial to be trained. baseline: its name, if it is one."""

    number: int
    configuration: Configuration
    baseline: str | None


@dataclass(frozen=True)
class Event:
    """Something that happened to a trial. kind: started, epoch, complete, pruned, failed."""

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
        self.fault: Exception | None = None
        self._reclaim()
        self._enqueue_baselines()

    def next(self) -> Assignment | None:
        """A trial to train now, or None when every trial of the study has been handed out."""
        while (assignment := self._ask()) is not None:
            if not self._settle(assignment):
                return assignment
        return None

    def report(self, number: int, attempt: Attempt, records: list[EpochRecord]) -> bool:
        """Store epochs of a running trial, one after another, each with its decision. True if the trial shall stop: it
        is at its end, or was pruned."""
        if number not in self.running:
            return True  # late news of a trial that has ended
        for record in records:
            if self.store.record(number, attempt, [record]):
                self._tell("epoch", number, record=record)
                if self._decide(self.running[number], record.epoch):
                    return True
        return False

    def fail(self, number: int, reason: str) -> None:
        """A running trial cannot go on. reason: one line."""
        if number in self.running:
            self.store.fail(number, reason)
            self._end("failed", number, reason)

    def put_back(self) -> list[int]:
        """Let all running trials wait for the next driver. Returns their numbers."""
        states = {trial.number: trial.state for trial in self.store.trials()} if self.running else {}
        numbers = [number for number in self.running if states[number] == TrialState.RUNNING]
        self.running.clear()
        for number in numbers:
            self.store.put_back(number)
        return numbers

    @contextmanager
    def noting_faults(self) -> Iterator[None]:
        """Keep what is raised inside as `fault`: Ray wraps whatever its callbacks raise in a text of its own."""
        try:
            yield
        except Exception as error:
            self.fault = self.fault or error
            raise

    def _ask(self) -> Assignment | None:
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

    def _settle(self, assignment: Assignment) -> bool:
        """Take the decision of a taken-up trial's last epoch again: the last driver may have died between storing the
        epoch and storing the outcome. True if that ends the trial, so that it need not be trained."""
        epoch = self.store.last_epoch(assignment.number)
        if not epoch:
            return False
        self.store.forget_decision(assignment.number)
        return self._decide(assignment, epoch)

    def _decide(self, assignment: Assignment, epoch: int) -> bool:
        """After an epoch was stored: True if the trial ends with it, COMPLETE or PRUNED."""
        number = assignment.number
        if epoch >= assignment.configuration.train.epochs:
            self.store.complete(number)
            return self._end("complete", number)
        if self._prunes(assignment):
            self.store.prune(number)
            return self._end("pruned", number)
        return False

    def _prunes(self, assignment: Assignment) -> bool:
        if self.pruner is None or assignment.baseline is not None:
            return False
        return self.store.should_prune(assignment.number, self.pruner)

    def _assignment(self, frozen: FrozenTrial) -> Assignment:
        configuration = self.spec.configuration(parameters(self.store.spec, frozen))
        return Assignment(frozen.number, configuration, frozen.user_attrs.get(BASELINE))

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
        event = Event(kind, number, self.running.pop(number).baseline, None, reason)
        self.listener(event)
        return True

    def _tell(self, kind: str, number: int, *, record: EpochRecord | None = None) -> None:
        self.listener(Event(kind, number, self.running[number].baseline, record))
