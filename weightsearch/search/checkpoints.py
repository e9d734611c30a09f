"""Which checkpoints stay on the disk: those of running trials, of the baselines and of the best trial so far."""

from __future__ import annotations

import shutil
from pathlib import Path

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from weightsearch.search.ledger import COMPLETE, FAILED, PRUNED, Event
from weightsearch.study.store import BASELINE, StudyStore


class Checkpoints:
    """A listener that removes the folders of trials that nobody will evaluate. With several objectives every trial that
    trained to the end keeps its own: any of them may come to stand in the front."""

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
                    continue  # of a study that has since been set back to an older copy
                trial = trials[number]
                kept = number == best or (trial.state == TrialState.COMPLETE and BASELINE in trial.user_attrs)
                if trial.state.is_finished() and not kept:
                    self._remove(number)

    def _best(self, trials: list[FrozenTrial]) -> int:
        sign = 1 if self.store.study.direction == StudyDirection.MINIMIZE else -1
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        return min(complete, key=lambda trial: sign * trial.values[0]).number

    def _remove(self, number: int) -> None:
        folder = self.checkpoint(number).parent
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
