"""The median rule."""

from __future__ import annotations

from typing import Annotated

from optuna.pruners import BasePruner, MedianPruner
from pydantic import Field


def median(
    *,
    startup_trials: Annotated[int, Field(ge=0, description="Trials that are never pruned.")] = 5,
    warmup_epochs: Annotated[int, Field(ge=0, description="Epochs before the first decision.")] = 0,
) -> BasePruner:
    """Median rule: stops a trial whose best value so far is worse than the median of the other trials at the same
    epoch."""
    return MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=warmup_epochs)
