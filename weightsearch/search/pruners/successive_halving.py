"""Successive halving."""

from __future__ import annotations

from optuna.pruners import BasePruner, SuccessiveHalvingPruner

from weightsearch.search.pruners.pruner import Factor, MinEpochs


def successive_halving(*, min_epochs: MinEpochs = 1, factor: Factor = 3) -> BasePruner:
    """Asynchronous successive halving: at min_epochs, factor * min_epochs, ... a trial continues if it is among the
    best 1/factor of the trials that have reached this epoch. Source: Li et al. 2020."""
    return SuccessiveHalvingPruner(min_resource=min_epochs, reduction_factor=factor)
