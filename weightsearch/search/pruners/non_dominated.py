"""Successive halving for several objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from weightsearch.analysis.domination import best_first
from weightsearch.search.pruners.pruner import Factor, MinEpochs


class NonDominated:
    """Asynchronous successive halving over any number of objectives: at min_epochs, factor * min_epochs, ... a trial
    continues if it is among the best 1/factor of the trials that have reached this epoch, baselines included: by
    non-dominated rank, then by crowding distance, then by number. With one objective it decides as successive_halving
    does when that has seen the same trials. Sources: Li et al. 2020; Deb et al. 2002."""

    several_objectives: ClassVar[bool] = True

    def __init__(self, *, min_epochs: MinEpochs = 1, factor: Factor = 3) -> None:
        self.min_epochs = min_epochs
        self.factor = factor

    def decides_after(self, epoch: int) -> bool:
        """Return True if a trial may be stopped after this epoch."""
        rung = self.min_epochs
        while rung < epoch:
            rung *= self.factor
        return rung == epoch

    def prunes(self, number: int, losses: Mapping[int, Sequence[float]]) -> bool:
        """Return True if trial `number` must stop. losses: trial number -> objectives, lower is better. A trial with a
        NaN stops and does not compete."""
        competing = {trial: row for trial, row in sorted(losses.items()) if not any(math.isnan(value) for value in row)}
        if number not in competing:
            return True
        numbers = list(competing)
        going_on = max(1, len(numbers) // self.factor)  # the best of fewer than `factor` trials, as in Optuna
        best = best_first(np.array(list(competing.values()), dtype=np.float64))[:going_on]
        return number not in [numbers[index] for index in best]
