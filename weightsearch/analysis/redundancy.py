"""Redundancy of the weights: whether a common factor, or all ratios but one, have no effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Redundancy:
    """Shares of the objective's variance over trials (values clipped at the extremes) that quadratic functions of the
    log weights explain: adjusted R²; below 0 is worse than the mean.

    common_factor: the share that the geometric mean of all weights adds to their ratios; None if it was not searched,
    because a weight is fixed. ratio: the two terms whose ratio alone explains most, and its share. all_weights: the
    share of all weights together. trials: the number of trials with every weight above 0.
    """

    trials: int
    all_weights: float
    common_factor: float | None
    ratio: tuple[str, str, float] | None


def redundancy(weights: pd.DataFrame, values: Sequence[float]) -> Redundancy | None:
    """The redundancy of the weights; None for fewer than ten trials with all weights above 0, or for fewer than two
    terms. weights: a column for each term, a row for each completed trial. values: the objective of each."""
    objective = np.asarray(values, dtype=float)
    numbers = weights.to_numpy(dtype=float)
    usable = (numbers > 0).all(axis=1) & np.isfinite(objective)
    logs, objective = np.log(numbers[usable]), _without_extremes(objective[usable])
    terms = list(weights.columns)
    if len(objective) < 10 or len(terms) < 2 or np.ptp(objective) == 0:
        return None
    mean = logs.mean(axis=1, keepdims=True)
    ratios = (logs - mean)[:, :-1]  # the last follows from the others
    explained = _explained(logs, objective)
    searched = bool((np.ptp(logs, axis=0) > 0).all())
    pairs = {
        (terms[i], terms[j]): _explained((logs[:, i] - logs[:, j])[:, None], objective)
        for i, j in combinations(range(len(terms)), 2)
        if np.ptp(logs[:, i] - logs[:, j]) > 0
    }
    first = max(pairs, key=lambda pair: pairs[pair], default=None)
    return Redundancy(
        trials=len(objective),
        all_weights=explained,
        common_factor=explained - _explained(ratios, objective) if searched else None,
        ratio=None if first is None else (*first, pairs[first]),
    )


def _without_extremes(values: NDArray[Any]) -> NDArray[Any]:
    """Values clipped to the range of the middle 90 %, so that a single outlier has little influence."""
    low, high = np.quantile(values, (0.05, 0.95))
    cut: NDArray[Any] = np.clip(values, low, high)
    return cut


def _explained(inputs: NDArray[Any], objective: NDArray[Any]) -> float:
    """Adjusted R² of a full quadratic in these inputs (without squares and products if there are too few trials)."""
    inputs = inputs[:, np.ptp(inputs, axis=0) > 0]
    columns = [np.ones(len(objective)), *inputs.T]
    products = [inputs[:, i] * inputs[:, j] for i in range(inputs.shape[1]) for j in range(i, inputs.shape[1])]
    if len(columns) + len(products) <= len(objective) // 2:
        columns += products
    matrix = np.stack(columns, axis=1)
    fitted, _, rank, _ = np.linalg.lstsq(matrix, objective, rcond=None)
    left = float(((objective - matrix @ fitted) ** 2).sum())
    whole = float(((objective - objective.mean()) ** 2).sum())
    freedom = len(objective) - rank
    return 1 - (left / freedom) / (whole / (len(objective) - 1)) if freedom > 0 else 0.0
