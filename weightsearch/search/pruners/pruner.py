"""Interface of pruners, and types of their options.

A pruner is a function of its options that returns one of Optuna's pruners, for one objective, or a class with the
attribute `several_objectives` and the methods of `SeveralObjectives`. Its state is in the study's database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol, runtime_checkable

from pydantic import Field

MinEpochs = Annotated[int, Field(ge=1, description="Epochs before the first decision.")]
Factor = Annotated[int, Field(ge=2, description="Each decision keeps the best 1/factor of the trials.")]


@runtime_checkable
class SeveralObjectives(Protocol):
    """A pruner for any number of objectives. It stores nothing: the ledger passes the stored values."""

    several_objectives: bool

    def decides_after(self, epoch: int) -> bool:
        """Return True if a trial may be stopped after this epoch."""
        ...

    def prunes(self, number: int, losses: Mapping[int, Sequence[float]]) -> bool:
        """Return True if trial `number` must stop. losses: trial number -> objectives at this epoch, lower is better,
        of every trial that reached it."""
        ...
