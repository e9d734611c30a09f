"""Ray Tune scheduler that delegates to the ledger."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError, RayError, RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from weightsearch.errors import ChangedDataError, DataError, NotShared, WriteError, kind_and_line, last_line
from weightsearch.records import Environment, EpochRecord
from weightsearch.search.outbox import Failure, Message, Outbox, Report, Return, WorkerFailure
from weightsearch.search.ray_internals import TuneWorkers
from weightsearch.search.trial_log import pointer
from weightsearch.study.writer import Attempt

# A full disk, missing or changed data: every other trial would fail for the same reason.
STOPPING: Final = (WriteError, DataError)
LASTING: Final = (NotShared, ChangedDataError)  # another attempt would fail for the same reason


class LedgerScheduler(FIFOScheduler):  # type: ignore[misc]
    """Puts every result into the outbox and stops trials that have ended. workers: those of the same call of tune.run.
    watch: called continuously; its exceptions end the search. one_host: there is no other host that could read or
    write the files that a worker could not."""

    def __init__(
        self,
        outbox: Outbox,
        workers: TuneWorkers,
        max_failures: int,
        watch: Callable[[], None] = lambda: None,
        *,
        one_host: bool = False,
    ) -> None:
        super().__init__()
        self.outbox = outbox
        self.workers = workers
        self.max_failures = max_failures
        self.watch = watch
        self.one_host = one_host
        self.just_added: set[str] = set()  # trials that cannot have a worker yet
        self.ended: list[Trial] = []  # ended trials, whose last result Ray keeps

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Register a new trial, or a trial that continues after its worker failed."""
        self.workers.controller = tune_controller
        trial.max_failures = max(0, self.max_failures - trial.config["failures"])
        self.just_added.add(trial.trial_id)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Choose the trial that has waited longest for a place on the cluster; None if all have a place: then Ray gives
        a free worker to any of them.

        Ray's own schedulers choose the oldest trial, whose worker may be starting. A free worker for that trial stops
        the starting worker, trial after trial: with slowly starting workers only the first would ever train.

        Workers without a waiting trial are released, since they hold a place on the cluster: Ray Tune would keep a
        worker for a future trial, although the searcher has just been asked for one.
        """
        self.workers.controller = tune_controller
        with self.outbox.ledger.noting_faults():
            self.watch()
            self.outbox.flush()  # Ray calls this continuously, however long the epochs are
        self.just_added.clear()
        while self.ended:
            self.ended.pop().last_result.pop("pictures", None)  # pictures of thousands of trials need much memory
        waiting = self.workers.waiting()
        if not waiting:
            self.workers.release()
        return next((trial for trial in waiting if not self.workers.has_place(trial)), None)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        return str(TrialScheduler.STOP if self._put(_message(result)) else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        self.ended.append(trial)
        if "number" in result:
            self._put(_message(result))

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ARG002
        """Process a worker that died or raised. Ray calls this when it retries a trial and when it gives a trial up."""
        if trial.trial_id in self.just_added:  # the same failure, reported a second time
            self._put(Return(trial.config["number"]))
            return
        left = trial.should_recover()
        again = left and trial.status != Trial.PENDING  # Ray gives up a trial that fails before it runs
        failures = trial.config["failures"] + trial.num_failures
        if left:
            failures = min(failures, self.max_failures)
        with self.outbox.ledger.noting_faults():
            self.watch()  # if Ray itself died, the worker did not fail
        error = _error(trial)
        stops = isinstance(error, LASTING) or (isinstance(error, STOPPING) and (self.one_host or not again))
        if again:
            trial.config["order"] = self.outbox.ledger.next_order()  # order of the next worker
        order = trial.config["order"] if again else None
        why = _why(error) if stops else _why(error) + pointer(Path(trial.config["log"]))
        self._put(WorkerFailure(trial.config["number"], failures, why, order, stops))

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: all state is in the database."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: all state is in the database."""

    def _put(self, message: Message) -> bool:
        with self.outbox.ledger.noting_faults():
            return self.outbox.put(message)


def _message(result: dict[str, Any]) -> Message:
    """Convert the result of a worker's step to a message."""
    number = result["number"]
    if "failed" in result:
        return Failure(number, result["failed"])
    report = json.loads(result["report"])
    environment = Environment(**report["environment"])
    attempt = Attempt(report["attempt"], report["resumed_from"], report["protocol"], environment, report["order"])
    records = [EpochRecord.from_plain(plain) for plain in report["records"]]
    return Report(number, attempt, records, result["done"], result.get("pictures", ()))


def _error(trial: Trial) -> BaseException | str:
    """Last error of a trial's worker; a text if it cannot be read."""
    try:
        with Path(trial.pickled_error_file).open("rb") as file:
            error: BaseException = ray.cloudpickle.load(file)
    except Exception as problem:  # no file, or the exception's class cannot be imported here
        return f"its error cannot be read ({type(problem).__name__})"
    return error.cause if isinstance(error, RayTaskError) else error


def _why(error: BaseException | str) -> str:
    """A worker's error in one line."""
    if isinstance(error, (str, *STOPPING)):
        return str(error)
    return _ray_says(error) if isinstance(error, RayError) else kind_and_line(error)


def _ray_says(error: RayError) -> str:
    """An error of Ray in one line: the fate of the worker's process, as far as Ray knows."""
    text = str(error)
    if isinstance(error, ActorUnavailableError):
        return "its node could not be reached"
    if re.search(r"node (has )?died|node was (terminated|dead)|NodeDied", text) or isinstance(error, NodeDiedError):
        return "its node was lost: it was switched off, or cut off for too long"
    if isinstance(error, OutOfMemoryError):
        return "its process was killed: its node ran out of memory"
    if "connection error code 2" in text:  # the socket was closed; Ray adds a list of possible causes
        return "its process ended without an error: it was killed, crashed in compiled code, or called os._exit"
    if detail := re.search(r"Worker exit detail: ([^\n]*)", text):
        return f"its process died: {detail.group(1)[:200]}"
    if "Traceback" not in text:
        return "its process died, and Ray does not say why"
    return last_line(error)  # an exception during the worker's setup
