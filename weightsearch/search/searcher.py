"""Ray Tune searcher that delegates to the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from weightsearch.search.admission import Claims, Workers
from weightsearch.search.ledger import Assignment

MakeConfig = Callable[[Assignment], dict[str, Any]]


class LedgerSearcher(Searcher):  # type: ignore[misc]
    """Gives Ray Tune the trials that this driver claims. Ends the round when no trial runs here and no trial can be
    claimed, since a waiting Ray Tune keeps its workers and their places. `rounds.py` starts the next round."""

    def __init__(self, claims: Claims, make_config: MakeConfig, workers: Workers) -> None:
        super().__init__()
        self.claims = claims
        self.make_config = make_config
        self.workers = workers

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # noqa: ARG002
        with self.claims.ledger.noting_faults():
            assignment = self.claims.next(self.workers)
        if assignment is not None:
            return self.make_config(assignment)
        return None if self.workers.busy() else str(Searcher.FINISHED)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Do nothing: the scheduler processes the end of a trial first."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: all state is in the database."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: all state is in the database."""
