"""Ray Tune's searcher, as a thin face of the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from weightsearch.search.ledger import Assignment, Ledger

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
        with self.ledger.noting_faults():
            assignment = self.ledger.next()
        return str(Searcher.FINISHED) if assignment is None else self.make_config(assignment)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: the scheduler hears of every end first."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the database has it all."""
