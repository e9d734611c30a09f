"""Which of several losses are best together: non-dominated sorting and crowding distance, as in NSGA-II (Deb et al.
2002, "A fast and elitist multiobjective genetic algorithm").

losses: [N, K], a row for each candidate, a column for each objective, lower is better in all of them. A row dominates
another if it is nowhere worse and somewhere better. NaN is as bad as infinity.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Losses = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.intp]
FEW: Final = 2  # rows that are both ends of whatever they are on


def ranks(losses: Losses) -> Ranks:
    """[N]: 0 for the rows that no other dominates, 1 for those that only rows of rank 0 dominate, and so on. Equal rows
    share a rank."""
    different, which = np.unique(_worst_for_nan(losses), axis=0, return_inverse=True)
    found = np.zeros(len(different), dtype=np.intp)
    for place, row in enumerate(different):  # sorted: what dominates a row stands before it
        better = (different[:place] <= row).all(axis=1)
        found[place] = 1 + found[:place][better].max(initial=-1)
    return found[which.reshape(-1)]


def non_dominated(losses: Losses) -> npt.NDArray[np.bool_]:
    """[N]: whether no other row dominates the row."""
    found: npt.NDArray[np.bool_] = ranks(losses) == 0
    return found


def crowding(losses: Losses) -> Losses:
    """[N]: how much room a row has among those of its rank: over the columns the sum of the difference between the next
    larger and the next smaller value, as a share of the range of the rank's finite values. Infinite for the first and
    the last row of a column, equal values following each other as their rows do. A column in which the rank does not
    vary counts for nothing; of a rank of one or two rows all have infinite room."""
    return _room(_worst_for_nan(losses), ranks(losses))


def best_first(losses: Losses) -> Ranks:
    """The rows' places, the best row first: by rank, then by larger crowding distance, then as they come."""
    rank = ranks(losses)
    return np.lexsort((-_room(_worst_for_nan(losses), rank), rank))


def _worst_for_nan(losses: Losses) -> Losses:
    return np.where(np.isnan(losses), np.inf, losses)


def _room(rows: Losses, rank: Ranks) -> Losses:
    sizes = np.bincount(rank)
    found = np.where(sizes[rank] <= FEW, np.inf, 0.0)
    for column in rows.T:
        order = np.lexsort((column, rank))
        values, front = column[order], rank[order]
        place = np.arange(len(order))
        first, last = np.searchsorted(front, front), np.searchsorted(front, front, side="right") - 1
        with np.errstate(invalid="ignore", over="ignore"):  # infinity less infinity is no difference
            gap = np.nan_to_num(
                values[np.minimum(place + 1, last)] - values[np.maximum(place - 1, first)], posinf=np.inf
            )
            share = gap / _span(values, front, len(sizes))[front]
        share[(place == first) | (place == last)] = np.inf
        share[values[first] == values[last]] = 0.0
        found[order] += share
    return found


def _span(values: Losses, front: Ranks, fronts: int) -> Losses:
    """[fronts]: of each front's finite values; 1 where they are all the same."""
    low, high = np.full(fronts, np.inf), np.full(fronts, -np.inf)
    finite = np.isfinite(values)
    np.minimum.at(low, front[finite], values[finite])
    np.maximum.at(high, front[finite], values[finite])
    return np.where(high > low, high - low, 1.0)
