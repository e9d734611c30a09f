"""The driver's decisions: which trial is next, what a report means, how a trial ends. Uses the database, not Ray; all
its state can be read again from the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from weightsearch.config import Configuration, StudyConfig
from weightsearch.errors import SearchError
from weightsearch.plugins import build
from weightsearch.records import EpochRecord, Picture
from weightsearch.search.pruners.pruner import SeveralObjectives
from weightsearch.search.samplers.sampler import MakeSampler, is_exhausted
from weightsearch.search.space import as_stored, distributions, inside
from weightsearch.study.store import BASELINE
from weightsearch.study.summary import parameters
from weightsearch.study.writer import Attempt, Stored, Writer

COMPLETE: Final = "complete"
PRUNED: Final = "pruned"
FAILED: Final = "failed"
OUTCOMES: Final = {TrialState.COMPLETE: COMPLETE, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}


@dataclass(frozen=True)
class Assignment:
    """A trial to be trained. baseline: name of the baseline, None for a searched trial. failures: number of worker
    failures so far. order: reports of attempts with a lower order are outdated."""

    number: int
    configuration: Configuration
    baseline: str | None
    failures: int = 0
    order: int = 0


@dataclass(frozen=True)
class Event:
    """An event for listeners.

    kind, of a trial: started, epoch, complete, pruned, failed; retried (its worker failed and is replaced); given back
    (the trial waits to be assigned again); again (stored epochs are trained again); cpu (the trial is trained on
    another CPU model than earlier trials). kind, of the study: waiting, back (the database became unavailable,
    available); cluster (Ray died and is restarted); warning (on the data or the settings, before training).
    """

    kind: str
    number: int | None = None
    baseline: str | None = None
    record: EpochRecord | None = None
    reason: str | None = None


Listener = Callable[[Event], None]


def stored_config(config: StudyConfig) -> dict[str, Any]:
    """Part of a study file that is stored in the database."""
    return {
        "tree": dict(config.tree),
        "objectives": dict(config.search.objectives),
        "baselines": config.search.baselines,
    }


class Ledger:
    """A driver's decisions on a study. `next` assigns trials; `report`, `worker_failed` and `fail` process the results.
    After StoreUnavailable each call may be repeated; a repeated call changes nothing if the first was stored.

    Trials that dead drivers left RUNNING are resumed first, under their own numbers.
    """

    def __init__(self, config: StudyConfig, writer: Writer, listener: Listener | None = None) -> None:
        self.config = config
        self.writer = writer
        self.store = writer.store
        self.listener = listener or (lambda _: None)
        search = config.search
        context = {"epochs": config.base.train.epochs}
        self.make_sampler: MakeSampler = build("sampler", search.sampler.name, search.sampler.options, context)
        self.pruner: BasePruner | SeveralObjectives | None = None
        if search.pruner.name != "none":
            self.pruner = build("pruner", search.pruner.name, search.pruner.options, context)
        self.ranges = as_stored(config.space, self.store.study_config.space)
        self.space = distributions(self.ranges)
        self.running: dict[int, Assignment] = {}
        self.order = 0  # order of attempts from now on
        self.failed_in_a_row: list[str] = []
        self.cpus: set[str] = set()  # CPU models reported to the listener
        self.fault: Exception | None = None
        self._begun = False

    def next(self) -> Assignment | None:
        """Take a trial to train now; None if there is none: see `done`."""
        self._begin()
        with self.writer.transaction():
            frozen = self._ask()
            if frozen is None:
                return None
            assignment = self._assignment(frozen)
        self.running[assignment.number] = assignment
        self.listener(Event("started", assignment.number, assignment.baseline))
        return assignment

    def left(self) -> int:
        """Number of trials that `next` would assign now, including trials of dead drivers. An upper bound for a grid,
        which may end earlier."""
        self._begin()
        with self.writer.transaction():
            self.writer.reclaim()
            unheard = sum(number not in self.running for number in self.writer.assigned())
            rows = self.store.states()
            waiting = sum(row.state == TrialState.WAITING for row in rows)
            new = 0 if self._spent(len(rows)) else self.config.search.trials - len(rows)
        return unheard + waiting + new

    def done(self) -> bool:
        """Return True if all trials of the study exist and have ended, including trials of other drivers."""
        rows = self.store.states()
        return not self.running and all(row.state.is_finished() for row in rows) and self._spent(len(rows))

    def report(
        self,
        number: int,
        attempt: Attempt,
        records: list[EpochRecord],
        *,
        last: bool = False,
        pictures: Sequence[Picture] = (),
    ) -> bool:
        """Store epochs of a running trial, each with its outcome for the trial. Returns True if the trial must stop: it
        is complete or pruned. last: no further report will come. pictures: of the trial's network, if it is
        complete."""
        for record in records:
            assignment = self.running.get(number)
            if assignment is None:
                return True  # outdated report of a trial that has ended
            if attempt.order < assignment.order:
                return False  # outdated report of a worker that was replaced
            self._notice_cpu(number, attempt)
            with self.writer.transaction():
                outcome, stored = self._take(assignment, attempt, record, pictures)
            if stored.removed:
                left = f"its checkpoint is gone or older; {stored.removed} of its epochs are trained again"
                self.listener(Event("again", number, assignment.baseline, reason=left))
            if stored.new:
                self.listener(Event("epoch", number, assignment.baseline, record))
            if outcome is not None:
                self._ended(outcome, number)
        if last:
            self.fail(number, "its worker ended before its last epoch")  # does nothing if the trial has ended
        return number not in self.running

    def _notice_cpu(self, number: int, attempt: Attempt) -> None:
        """Send an event at the first report from a CPU model that no earlier trial of the study was trained on."""
        here = attempt.environment
        if not here.cpu or here.cpu in self.cpus or not here.device.startswith("cpu"):
            return
        earlier = self.store.cpus() - {here.cpu}
        self.cpus.add(here.cpu)
        if earlier:
            self.listener(Event("cpu", number, reason=f"{here.cpu}; trials before it on {', '.join(sorted(earlier))}"))

    def next_order(self) -> int:
        """Begin a new order, higher than the order of every attempt so far."""
        self.order += 1
        return self.order

    def worker_failed(self, number: int, failures: int, reason: str, order: int | None) -> None:
        """Process the failure of a running trial's worker. Fails the trial after more than `resources.max_failures`.

        failures: number of failures, over all drivers. reason: one line. order: order of the attempt of the replacing
        worker; None without a replacement: the trial waits to be assigned again.
        """
        assignment = self.running.get(number)
        if assignment is None:
            return
        if failures > self.config.base.resources.max_failures:
            times = "once" if failures == 1 else f"{failures} times"
            self.fail(number, f"its worker failed {times}: {reason}", failures=failures)
            return
        with self.writer.transaction():
            if (
                number in self.writer.assigned()
            ):  # otherwise this is stored already, and the trial may be another driver's
                self.writer.set_failures(number, failures)
                if order is None:
                    self.writer.put_back(number)
        self.listener(Event("retried", number, assignment.baseline, reason=reason))
        if order is None:
            self._given_back(number)
        else:
            self.running[number] = replace(assignment, failures=failures, order=order)

    def give_back(self, number: int) -> None:
        """Set a running trial to WAITING, to be assigned again by any driver."""
        if number in self.running:
            with self.writer.transaction():
                if number in self.writer.assigned():  # otherwise this is stored already
                    self.writer.put_back(number)
            self._given_back(number)

    def stop(self, number: int, reason: str) -> None:
        """Stop the study because a trial failed for a reason that would fail all others. Raises SearchError; the trial
        is not failed."""
        if number in self.running:
            self.writer.set_failures(number, 0)
            raise SearchError(
                f"stopped: trial {number}: {reason}; nothing is lost: fix that, then resume with: "
                f"{self.store.how_to_go_on()}"
            )

    def fail(self, number: int, reason: str, *, failures: int | None = None) -> None:
        """End a running trial as failed. reason: one line. failures: number of worker failures. Raises SearchError if
        too many consecutive trials have failed."""
        if number not in self.running:
            return
        with self.writer.transaction():
            if failures is not None:
                self.writer.set_failures(number, failures)
            if not self.store.state(number).is_finished():
                self.writer.fail(number, reason)
        self._ended(FAILED, number, reason)
        limit = self.config.search.max_consecutive_failures
        if limit is not None and len(self.failed_in_a_row) >= limit:
            raise SearchError(
                f"stopped: {'the last trial' if limit == 1 else f'the last {limit} trials'} failed, the first of them: "
                f"{self.failed_in_a_row[0]}; "
                f"fix that, then resume with the other trials: {self.store.how_to_go_on()}"
            )

    def put_back(self) -> list[int]:
        """Set this driver's running trials to WAITING, for the next driver. Returns their numbers."""
        self.next_order()
        self.running.clear()
        with self.writer.transaction():
            numbers = self.writer.assigned()
            for number in numbers:
                self.writer.put_back(number)
        return numbers

    @contextmanager
    def noting_faults(self) -> Iterator[None]:
        """Store an exception raised inside as `fault`, and raise it at every further call: Ray replaces exceptions of
        its callbacks by a text, or counts them as failures of the trial and continues."""
        if self.fault is not None:
            raise self.fault
        try:
            yield
        except Exception as error:
            self.fault = error
            raise

    def _ask(self) -> FrozenTrial | None:
        self.writer.reclaim()
        # The trial was assigned, but the answer of the database was lost.
        for number in self.writer.assigned():
            if number not in self.running:
                return self.store.trial(number)
        rows = self.store.states()
        waiting = [row.number for row in rows if row.state == TrialState.WAITING]
        number = waiting[0] if waiting else len(rows)
        if not waiting and self._spent(len(rows)):
            return None
        return self.writer.ask(self._sampler(number), self.space)

    def _spent(self, trials: int) -> bool:
        """Return True if the study needs no further trials."""
        if trials >= self.config.search.trials:
            return True
        with self.store.database.errors():  # `done` asks outside any transaction
            return is_exhausted(self._sampler(trials), self.store.study)

    def _sampler(self, number: int) -> BaseSampler:
        return self.make_sampler(self.config.base.seed, number, self.ranges)

    def _take(
        self, assignment: Assignment, attempt: Attempt, record: EpochRecord, pictures: Sequence[Picture]
    ) -> tuple[str | None, Stored]:
        """Store an epoch and the resulting outcome of the trial (None: it continues)."""
        number = assignment.number
        state = self.store.state(number)
        if state.is_finished():  # stored already; the answer was lost
            return OUTCOMES[state], Stored(new=True, removed=0)
        stored = self.writer.record(number, attempt, record)
        train = assignment.configuration.train
        curve = [] if train.watched is None else self.store.curve(number, train.watched)
        if train.over(record.epoch, curve):
            epoch = None if train.watched is None else train.epoch_that_counts(record.epoch, curve)
            self.writer.complete(number, epoch, pictures)
            return COMPLETE, stored
        if stored.new and self._prunes(assignment, record.epoch):
            self.writer.prune(number)
            return PRUNED, stored
        return None, stored

    def _prunes(self, assignment: Assignment, epoch: int) -> bool:
        if self.pruner is None or assignment.baseline is not None:
            return False
        if isinstance(self.pruner, SeveralObjectives):
            decides = self.pruner.decides_after(epoch)
            return decides and self.pruner.prunes(assignment.number, self.store.losses_at(epoch))
        return self.writer.should_prune(assignment.number, self.pruner)

    def _assignment(self, frozen: FrozenTrial) -> Assignment:
        configuration = self.config.configuration(parameters(self.store.study_config, frozen))
        failures = self.writer.failures(frozen.number)
        return Assignment(frozen.number, configuration, frozen.user_attrs.get(BASELINE), failures, self.order)

    def _begin(self) -> None:
        """Enqueue the baselines once, at the first request for a trial: an unreachable cluster leaves no trials."""
        if self._begun:
            return
        baselines: Mapping[str, Mapping[str, Any]] = self.store.config["baselines"]
        with self.writer.transaction():
            stored = {trial.user_attrs.get(BASELINE): trial for trial in self.store.trials()}
            for name, values in baselines.items():
                params = inside(self.ranges, values)
                if name not in stored:
                    self.writer.enqueue_baseline(name, params)
                elif stored[name].state == TrialState.WAITING:
                    self.writer.correct_baseline(stored[name].number, params)
        self._begun = True

    def _given_back(self, number: int) -> None:
        assignment = self.running.pop(number)
        self.next_order()
        self.listener(Event("given back", number, assignment.baseline))

    def _ended(self, outcome: str, number: int, reason: str | None = None) -> None:
        assignment = self.running.pop(number)
        if outcome == FAILED:
            self.failed_in_a_row.append(f"trial {number}: {reason}")
        else:
            self.failed_in_a_row.clear()
        self.listener(Event(outcome, number, assignment.baseline, None, reason))
