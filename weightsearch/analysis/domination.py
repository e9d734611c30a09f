"""Non-dominated sorting and crowding distance, as in NSGA-II (Deb et al. 2002, "A fast and elitist multiobjective
genetic algorithm").

losses: [N, K], a row for each candidate, a column for each objective, lower is better in all of them. A row dominates
another if it is worse in no column and better in at least one. NaN is as bad as infinity.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Losses = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.intp]
FEW: Final = 2  # a front of so few rows consists of its ends


def ranks(losses: Losses) -> Ranks:
    """The rank of each row, [N]: 0 for non-dominated rows, 1 for rows that are dominated by rows of rank 0 only, and so
    on. Equal rows share a rank."""
    different, which = np.unique(_worst_for_nan(losses), axis=0, return_inverse=True)
    rank = np.zeros(len(different), dtype=np.intp)
    for position, row in enumerate(different):  # sorted: the rows that dominate a row come before it
        better = (different[:position] <= row).all(axis=1)
        rank[position] = 1 + rank[:position][better].max(initial=-1)
    return rank[which.reshape(-1)]


def non_dominated(losses: Losses) -> npt.NDArray[np.bool_]:
    """The mask of the rows that no other row dominates, [N]."""
    mask: npt.NDArray[np.bool_] = ranks(losses) == 0
    return mask


def crowding(losses: Losses) -> Losses:
    """The crowding distance of each row among the rows of its rank, [N]: the sum over the columns of the difference
    between the next larger and the next smaller value, as a share of the range of the rank's finite values. It is
    infinite for the first and the last row of a column (equal values are ordered by row) and in ranks of one or two
    rows. A column in which the rank does not vary adds 0."""
    return _room(_worst_for_nan(losses), ranks(losses))


def best_first(losses: Losses) -> Ranks:
    """Row indices, the best row first: by rank, then by larger crowding distance, then in input order."""
    rank = ranks(losses)
    return np.lexsort((-_room(_worst_for_nan(losses), rank), rank))


def _worst_for_nan(losses: Losses) -> Losses:
    return np.where(np.isnan(losses), np.inf, losses)


def _room(rows: Losses, rank: Ranks) -> Losses:
    sizes = np.bincount(rank)
    room = np.where(sizes[rank] <= FEW, np.inf, 0.0)
    for column in rows.T:
        order = np.lexsort((column, rank))
        values, front = column[order], rank[order]
        position = np.arange(len(order))
        first, last = np.searchsorted(front, front), np.searchsorted(front, front, side="right") - 1
        with np.errstate(invalid="ignore", over="ignore"):  # infinity minus infinity counts as no difference
            gap = np.nan_to_num(
                values[np.minimum(position + 1, last)] - values[np.maximum(position - 1, first)], posinf=np.inf
            )
            share = gap / _span(values, front, len(sizes))[front]
        share[(position == first) | (position == last)] = np.inf
        share[values[first] == values[last]] = 0.0
        room[order] += share
    return room


def _span(values: Losses, front: Ranks, fronts: int) -> Losses:
    """The range of each front's finite values, [fronts]; 1 where they are all the same."""
    low, high = np.full(fronts, np.inf), np.full(fronts, -np.inf)
    finite = np.isfinite(values)
    np.minimum.at(low, front[finite], values[finite])
    np.maximum.at(high, front[finite], values[finite])
    return np.where(high > low, high - low, 1.0)
