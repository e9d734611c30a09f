"""Pruners: what decides that a trial stops early. Their state is in the study's database.

Functions of their options that return Optuna's, and our own, since Optuna's know no several objectives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from pydantic import Field

from weightsearch.analysis.domination import best_first

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


class NonDominated:
    """Asynchronous successive halving (Li et al. 2020) over any number of objectives: at min_epochs,
    factor * min_epochs, ... a trial goes on if it is among the best 1/factor of those that came so far, baselines
    included: by non-dominated rank, then by crowding distance (Deb et al. 2002), then by number.

    It notes nothing: whoever asks hands it what is stored. With one objective it decides as Optuna's pruner does when
    that has seen the same trials.
    """

    def __init__(self, *, min_epochs: Epochs = 1, factor: Factor = 3) -> None:
        self.min_epochs = min_epochs
        self.factor = factor

    def decides_after(self, epoch: int) -> bool:
        """True if a trial may end there."""
        rung = self.min_epochs
        while rung < epoch:
            rung *= self.factor
        return rung == epoch

    def prunes(self, number: int, losses: Mapping[int, Sequence[float]]) -> bool:
        """losses: by number, of every trial that came to this epoch, this one among them; lower is better. A trial with
        a loss that is NaN ends and does not compete."""
        competing = {one: row for one, row in sorted(losses.items()) if not any(math.isnan(value) for value in row)}
        if number not in competing:
            return True
        numbers = list(competing)
        going_on = max(1, len(numbers) // self.factor)  # of fewer than `factor` the best, as Optuna has it
        best = best_first(np.array(list(competing.values()), dtype=np.float64))[:going_on]
        return number not in [numbers[place] for place in best]
