"""The driver's decisions: which trial is next, what a report means, how a trial ends. Knows the database, not Ray, and
holds nothing that cannot be read from the database again."""

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
    """A trial to be trained. baseline: its name, if it is one. failures: of its workers so far. order: reports of
    attempts with a lower one are late news."""

    number: int
    configuration: Configuration
    baseline: str | None
    failures: int = 0
    order: int = 0


@dataclass(frozen=True)
class Event:
    """Something that happened. kind, of a trial: started, epoch, complete, pruned, failed; retried, when its worker
    failed and another will take its place; given back, when it waits to be handed out anew; again, when epochs that
    were stored are trained again. Of the study: waiting and back, when the database went away and when it came again;
    cluster, when Ray died and is started again; warning, what a person should know of the data or the settings before
    anything is trained; cpu, when a trial is trained on another kind of CPU than the earlier trials."""

    kind: str
    number: int | None = None
    baseline: str | None = None
    record: EpochRecord | None = None
    reason: str | None = None


Listener = Callable[[Event], None]


def stored_config(config: StudyConfig) -> dict[str, Any]:
    """The part of a study file that the database keeps."""
    return {
        "tree": dict(config.tree),
        "objectives": dict(config.search.objectives),
        "baselines": config.search.baselines,
    }


class Ledger:
    """One driver's view of a study. `next` hands out trials; `report`, `worker_failed` and `fail` take what becomes of
    them. Each may be repeated when it raised StoreUnavailable, and changes nothing the second time.

    Trials that dead drivers left RUNNING are taken up again first, under their own numbers.
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
        self.order = 0  # of attempts from now on
        self.failed_in_a_row: list[str] = []
        self.cpus: set[str] = set()  # kinds of CPU that the listener knows
        self.fault: Exception | None = None
        self._begun = False

    def next(self) -> Assignment | None:
        """A trial to train now; None if there is none: see `done`."""
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
        """The number of trials that `next` would hand out now, with those of dead drivers. An upper bound for a grid,
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
        """True when every trial of the study has been made and has ended, those of other drivers too."""
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
        """Store epochs of a running trial, one after another, each together with what it means for the trial. True if
        the trial shall stop: it is at its end, or was pruned. last: nothing more will come. pictures: of the network
        that is the trial's, if it is at its end."""
        for record in records:
            assignment = self.running.get(number)
            if assignment is None:
                return True  # late news of a trial that has ended
            if attempt.order < assignment.order:
                return False  # late news of a worker that was given up
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
            self.fail(number, "its worker ended before its last epoch")  # unless that was it
        return number not in self.running

    def _notice_cpu(self, number: int, attempt: Attempt) -> None:
        """Send an event at the first report from a kind of CPU that no earlier trial of the study was trained on."""
        here = attempt.environment
        if not here.cpu or here.cpu in self.cpus or not here.device.startswith("cpu"):
            return
        known = self.store.cpus() - {here.cpu}
        self.cpus.add(here.cpu)
        if known:
            self.listener(Event("cpu", number, reason=f"{here.cpu}; trials before it on {', '.join(sorted(known))}"))

    def next_order(self) -> int:
        """Begin a new order, above that of every attempt so far."""
        self.order += 1
        return self.order

    def worker_failed(self, number: int, failures: int, reason: str, order: int | None) -> None:
        """The worker of a running trial died or could not go on, for the `failures`-th time under all drivers. Ends the
        trial past `resources.max_failures`. reason: one line. order: of the attempt of the worker that takes its place;
        None if none does, and the trial waits to be handed out anew."""
        assignment = self.running.get(number)
        if assignment is None:
            return
        if failures > self.config.base.resources.max_failures:
            times = "once" if failures == 1 else f"{failures} times"
            self.fail(number, f"its worker failed {times}: {reason}", failures=failures)
            return
        with self.writer.transaction():
            if number in self.writer.assigned():  # else this was stored before, and the trial may be another driver's
                self.writer.set_failures(number, failures)
                if order is None:
                    self.writer.put_back(number)
        self.listener(Event("retried", number, assignment.baseline, reason=reason))
        if order is None:
            self._given_back(number)
        else:
            self.running[number] = replace(assignment, failures=failures, order=order)

    def give_back(self, number: int) -> None:
        """Let a running trial wait to be handed out anew, here or by another driver."""
        if number in self.running:
            with self.writer.transaction():
                if number in self.writer.assigned():  # else this was stored before
                    self.writer.put_back(number)
            self._given_back(number)

    def stop(self, number: int, reason: str) -> None:
        """A running trial cannot go on for a reason that will end all others too. Raises SearchError; the trial
        stays."""
        if number in self.running:
            self.writer.set_failures(number, 0)
            raise SearchError(
                f"stopped: trial {number}: {reason}; nothing is lost: mend that, then go on with: "
                f"{self.store.how_to_go_on()}"
            )

    def fail(self, number: int, reason: str, *, failures: int | None = None) -> None:
        """A running trial cannot go on. reason: one line. failures: of its workers. Raises SearchError when too many
        trials in a row have failed."""
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
                f"mend that, then go on with the other trials: {self.store.how_to_go_on()}"
            )

    def put_back(self) -> list[int]:
        """Let this driver's running trials wait for the next one. Returns their numbers."""
        self.next_order()
        self.running.clear()
        with self.writer.transaction():
            numbers = self.writer.assigned()
            for number in numbers:
                self.writer.put_back(number)
        return numbers

    @contextmanager
    def noting_faults(self) -> Iterator[None]:
        """Keep what is raised inside as `fault`: Ray wraps whatever its callbacks raise in a text of its own, or takes
        it for a failure of the trial and goes on. So once there is a fault it is raised at every further call."""
        if self.fault is not None:
            raise self.fault
        try:
            yield
        except Exception as error:
            self.fault = error
            raise

    def _ask(self) -> FrozenTrial | None:
        self.writer.reclaim()
        # An answer that never came: the trial was assigned, but this driver did not hear of it.
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
        """True if the study has all the trials that it will have."""
        if trials >= self.config.search.trials:
            return True
        with self.store.database.errors():  # `done` asks outside any transaction
            return is_exhausted(self._sampler(trials), self.store.study)

    def _sampler(self, number: int) -> BaseSampler:
        return self.make_sampler(self.config.base.seed, number, self.ranges)

    def _take(
        self, assignment: Assignment, attempt: Attempt, record: EpochRecord, pictures: Sequence[Picture]
    ) -> tuple[str | None, Stored]:
        """Store an epoch and the outcome that comes with it."""
        number = assignment.number
        state = self.store.state(number)
        if state.is_finished():  # stored before, only the answer was lost
            return OUTCOMES[state], Stored(new=True, removed=0)
        stored = self.writer.record(number, attempt, record)
        train = assignment.configuration.train
        curve = [] if train.watched is None else self.store.curve(number, train.watched)
        if train.over(record.epoch, curve):
            kept = None if train.watched is None else train.epoch_that_counts(record.epoch, curve)
            self.writer.complete(number, kept, pictures)
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
        """Enqueue the baselines, once: when the first trial is asked for, so that a cluster that cannot be reached
        leaves no trials."""
        if self._begun:
            return
        baselines: Mapping[str, Mapping[str, Any]] = self.store.config["baselines"]
        with self.writer.transaction():
            known = {trial.user_attrs.get(BASELINE): trial for trial in self.store.trials()}
            for name, values in baselines.items():
                params = inside(self.ranges, values)
                if name not in known:
                    self.writer.enqueue_baseline(name, params)
                elif known[name].state == TrialState.WAITING:
                    self.writer.correct_baseline(known[name].number, params)
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
