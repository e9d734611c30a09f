"""Which checkpoints stay on the disk: those of running trials, of the baselines and of the best trial so far."""

from __future__ import annotations

import shutil
from pathlib import Path

from weightsearch.search.ledger import Event
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import summarise


class Keeper:
    """A listener that removes the folders of trials that nobody will evaluate."""

    def __init__(self, store: StudyStore, folder: Path) -> None:
        self.store = store
        self.folder = folder

    def checkpoint(self, number: int) -> Path:
        return self.folder / f"{number:05d}" / "checkpoint.pt"

    def __call__(self, event: Event) -> None:
        if event.kind in ("pruned", "failed") and event.baseline is None:
            self._remove(event.number)
        elif event.kind == "complete":
            summary = summarise(self.store)
            front = {trial.number for trial in summary.front} | {summary.best.number if summary.best else -1}
            for trial in summary.trials:
                if trial.state == "COMPLETE" and trial.baseline is None and trial.number not in front:
                    self._remove(trial.number)

    def _remove(self, number: int) -> None:
        folder = self.checkpoint(number).parent
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
