"""Ray Tune's scheduler, as a thin face of the ledger."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from weightsearch.errors import kind_and_line
from weightsearch.records import Environment, EpochRecord
from weightsearch.search.ledger import Ledger
from weightsearch.study.store import Attempt


class LedgerScheduler(FIFOScheduler):  # type: ignore[misc]
    """Puts every result into the ledger and stops the trials that it says have ended."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        return str(TrialScheduler.STOP if self._take(result) else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        if "number" in result and not self._take(result):
            with self.ledger.noting_faults():
                self.ledger.fail(result["number"], "its worker ended before its last epoch")

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:  # noqa: ARG002
        """Its worker died, or raised. Ray calls this when it gives a trial up, and also when it tries it again."""
        if not trial.should_recover():
            times = "once" if trial.num_failures == 1 else f"{trial.num_failures} times"
            with self.ledger.noting_faults():
                self.ledger.fail(trial.config["number"], f"its worker failed {times}: {_why(trial)}")

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the database has it all."""

    def _take(self, result: dict[str, Any]) -> bool:
        number = result["number"]
        with self.ledger.noting_faults():
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
        return kind_and_line(error.cause)
    text = str(error)
    if detail := re.search(r"Worker exit detail: ([^\n]*)", text):
        return f"its process died: {detail.group(1)[:200]}"
    if "Traceback" in text:  # raised while it was set up
        return text.strip().splitlines()[-1].strip()
    return "its process died, killed or out of memory"
