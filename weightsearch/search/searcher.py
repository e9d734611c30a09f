"""Ray Tune's searcher and scheduler, as two thin faces of the ledger."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from weightsearch.records import Environment, EpochRecord
from weightsearch.search.ledger import Assignment, Ledger
from weightsearch.study.store import Attempt

MakeConfig = Callable[[Assignment], dict[str, Any]]


class LedgerSearcher(Searcher):  # type: ignore[misc]
    """Hands out the ledger's trials, at most `slots()` at a time."""

    def __init__(self, ledger: Ledger, make_config: MakeConfig, slots: Callable[[], int]) -> None:
        super().__init__()
        self.ledger = ledger
        self.make_config = make_config
        self.slots = slots

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # noqa: ARG002
        if len(self.ledger.running) >= self.slots():
            return None
        assignment = self.ledger.next()
        if assignment is None:
            return str(Searcher.FINISHED)
        return self.make_config(assignment)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: the scheduler hears of every end first."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the database has it all."""


class LedgerScheduler(FIFOScheduler):  # type: ignore[misc]
    """Puts every result into the ledger and stops the trials that it says have ended."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        return str(TrialScheduler.STOP if self._take(result) else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        if "number" in result:
            self._take(result)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ARG002
        """Its worker died, or raised. Ray tells it each time, and tries again as long as it may."""
        if not trial.should_recover():
            times = "once" if trial.num_failures == 1 else f"{trial.num_failures} times"
            self.ledger.fail(trial.config["number"], f"its worker failed {times}: {_why(trial)}")

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the database has it all."""

    def _take(self, result: dict[str, Any]) -> bool:
        number = result["number"]
        if "failed" in result:
            self.ledger.fail(number, result["failed"])
            return True
        report = json.loads(result["report"])
        attempt = Attempt(
            report["attempt"], report["resumed_from"], report["protocol"], Environment(**report["environment"])
        )
        return self.ledger.report(number, attempt, [EpochRecord.from_plain(plain) for plain in report["records"]])


def _why(trial: Trial) -> str:
    """The last fault of a trial's worker, in one line."""
    try:
        with Path(trial.pickled_error_file).open("rb") as file:
            error = ray.cloudpickle.load(file)
    except Exception as problem:  # no file, or an exception whose class cannot be found here
        return f"its error cannot be read ({type(problem).__name__})"
    if isinstance(error, RayTaskError):
        error = error.cause
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0] if lines else ''}"
    detail = re.search(r"Worker exit detail: ([^\n]*)", str(error))
    return "its process died" + (f": {detail.group(1)[:200]}" if detail else ", killed or out of memory")
