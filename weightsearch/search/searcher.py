"""Ray Tune's searcher and scheduler, as two thin faces of the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

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
        """Its worker died, or raised, once more than it may."""
        error = trial.get_pickled_error() or trial.get_error()
        lines = [line.strip() for line in str(error or "").strip().splitlines() if line.strip()]
        reason = lines[-1] if lines else "no word of why"
        self.ledger.fail(trial.config["number"], f"its worker failed {trial.num_failures} times: {reason}")

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
