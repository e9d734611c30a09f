"""Pruners: functions of their options that return Optuna's. Their state is in the study's database."""

from __future__ import annotations

from typing import Annotated

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from pydantic import Field

Epochs = Annotated[int, Field(ge=1)]
Factor = Annotated[int, Field(ge=2)]


def none() -> BasePruner:
    """Every trial trains to the end."""
    return NopPruner()


def successive_halving(*, min_epochs: Epochs = 1, factor: Factor = 3) -> BasePruner:
    """Asynchronous successive halving (Li et al. 2020): at min_epochs, factor * min_epochs, ... a trial goes on if it
    is among the best 1/factor of those that came so far."""
    return SuccessiveHalvingPruner(min_resource=min_epochs, reduction_factor=factor)


def hyperband(*, min_epochs: Epochs = 1, factor: Factor = 3, epochs: Epochs) -> BasePruner:
    """Hyperband (Li et al. 2018): several successive halvings that start at different epochs. epochs: of a full trial,
    the training's if left out."""
    return HyperbandPruner(min_resource=min_epochs, max_resource=epochs, reduction_factor=factor)


def median(
    *, startup_trials: Annotated[int, Field(ge=0)] = 5, warmup_epochs: Annotated[int, Field(ge=0)] = 0
) -> BasePruner:
    """Stops a trial whose best value so far is worse than the median of the others' at the same epoch."""
    return MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=warmup_epochs)
