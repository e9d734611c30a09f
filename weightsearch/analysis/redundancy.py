"""Redundancy of the weights: a common factor, and all but one ratio, may not matter."""

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
    """Shares of the objective's variance over trials (its extremes cut) that quadratic functions of logarithms of
    weights explain, adjusted for their number of coefficients (R² adjusted; below 0 is worse than the mean).

    common_factor: what the geometric mean of all weights explains beyond their ratios; None if it was not searched,
    because a weight is fixed. ratio: the two terms whose ratio alone explains most, with what it explains.
    all_weights: what all of them explain together. trials: with every weight above 0.
    """

    trials: int
    all_weights: float
    common_factor: float | None
    ratio: tuple[str, str, float] | None


def redundancy(weights: pd.DataFrame, values: Sequence[float]) -> Redundancy | None:
    """weights: a column for each term, a row a trial that trained to the end. None for fewer than ten trials with all
    weights above 0, or for fewer than two terms."""
    objective = np.asarray(values, dtype=float)
    numbers = weights.to_numpy(dtype=float)
    kept = (numbers > 0).all(axis=1) & np.isfinite(objective)
    logs, objective = np.log(numbers[kept]), _without_extremes(objective[kept])
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
    """Values cut to the range of the middle 90 %, so that one trial that is far off decides nothing."""
    low, high = np.quantile(values, (0.05, 0.95))
    cut: NDArray[Any] = np.clip(values, low, high)
    return cut


def _explained(inputs: NDArray[Any], objective: NDArray[Any]) -> float:
    """R², adjusted, of a full quadratic in these inputs (squares and products while there are trials enough)."""
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
