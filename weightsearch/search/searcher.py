"""Ray Tune's searcher, as a thin face of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from weightsearch.search.ledger import Assignment
from weightsearch.search.outbox import Outbox

MakeConfig = Callable[[Assignment], dict[str, Any]]


class LedgerSearcher(Searcher):  # type: ignore[misc]
    """Hands out the ledger's trials, at most `slots()` at a time. While other drivers' trials run it waits for them to
    end, or for their lease to: then they are trained here. due: whether it is time to ask again after there was
    none."""

    def __init__(
        self, outbox: Outbox, make_config: MakeConfig, slots: Callable[[], int], due: Callable[[], bool]
    ) -> None:
        super().__init__()
        self.outbox = outbox
        self.ledger = outbox.ledger
        self.make_config = make_config
        self.slots = slots
        self.due = due
        self.exhausted: int | None = None  # trials that ran here when there was no other to hand out

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # noqa: ARG002
        with self.ledger.noting_faults():
            self.outbox.flush()
            running = len(self.ledger.running)
            if running >= self.slots() or (running == self.exhausted and not self.due()):
                return None
            assignment = self.outbox.next()
            if assignment is not None:
                self.exhausted = None
                return self.make_config(assignment)
            self.exhausted = len(self.ledger.running)
            return str(Searcher.FINISHED) if self.outbox.done() else None

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: the scheduler hears of every end first."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the database has it all."""
