"""Hyperband."""

from __future__ import annotations

from typing import Annotated

from optuna.pruners import BasePruner, HyperbandPruner
from pydantic import Field

from weightsearch.search.pruners.pruner import Factor, MinEpochs


def hyperband(
    *,
    min_epochs: MinEpochs = 1,
    factor: Factor = 3,
    epochs: Annotated[int, Field(ge=1, description="Epochs of a full trial. Default: train.epochs.")],
) -> BasePruner:
    """Hyperband: several runs of successive halving that start at different epochs. Source: Li et al. 2018."""
    return HyperbandPruner(min_resource=min_epochs, max_resource=epochs, reduction_factor=factor)
