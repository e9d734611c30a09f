"""Removal of checkpoints. Running trials, baselines and the best trial so far keep their checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from weightsearch.search.ledger import COMPLETE, FAILED, PRUNED, Event
from weightsearch.study.store import BASELINE, StudyStore


class Checkpoints:
    """Listener that removes the folders of trials that will not be evaluated. With several objectives all COMPLETE
    trials keep their folders: each may become Pareto-optimal."""

    def __init__(self, store: StudyStore, folder: Path) -> None:
        self.store = store
        self.folder = folder

    def checkpoint(self, number: int) -> Path:
        return self.folder / f"{number:05d}" / "checkpoint.pt"

    def __call__(self, event: Event) -> None:
        if event.number is None:
            return
        if event.kind in (PRUNED, FAILED):
            self._remove(event.number)
        elif event.kind == COMPLETE and len(self.store.study.directions) == 1:
            trials = self.store.trials()
            best = self._best(trials)
            for folder in self.folder.glob("[0-9]*"):
                number = int(folder.name)
                if number >= len(trials):
                    continue  # the database was replaced by an older copy
                trial = trials[number]
                needed = number == best or (trial.state == TrialState.COMPLETE and BASELINE in trial.user_attrs)
                if trial.state.is_finished() and not needed:
                    self._remove(number)

    def _best(self, trials: list[FrozenTrial]) -> int:
        sign = 1 if self.store.study.direction == StudyDirection.MINIMIZE else -1
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        return min(complete, key=lambda trial: sign * trial.values[0]).number

    def _remove(self, number: int) -> None:
        folder = self.checkpoint(number).parent
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
