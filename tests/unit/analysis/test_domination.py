"""Non-dominated sorting and crowding distance, against their definitions written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from weightsearch.analysis.domination import best_first, crowding, non_dominated, ranks

FEW_VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.inf, math.nan])
ANY_VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)
tables = st.one_of(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), elements=values)
    for values in (FEW_VALUES, ANY_VALUES)
)
finite_tables = st.one_of(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), elements=values)
    for values in (st.sampled_from([0.0, 1.0, 2.0, 3.0]), ANY_VALUES)
)

# Five candidates of two objectives: three on the front, one behind them, one behind that one.
FIVE = np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0], [3.0, 3.0], [4.0, 4.0]])


def rows_of(losses: np.ndarray) -> list[tuple[float, ...]]:
    return [tuple(math.inf if math.isnan(value) else float(value) for value in row) for row in losses]


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def longest_chain(rows: list[tuple[float, ...]], row: tuple[float, ...]) -> int:
    """The length of the longest chain of rows in which each dominates the next."""
    return max((1 + longest_chain(rows, other) for other in set(rows) if dominates(other, row)), default=0)


def distances(front: list[tuple[float, ...]]) -> list[float]:
    """Each row's crowding distance: in every column, the next value above minus the next below; ties in the order of
    rows."""
    if len(front) <= 2:
        return [math.inf] * len(front)
    found = []
    for place, row in enumerate(front):
        total = 0.0
        for column in range(len(row)):
            keys = [(other[column], where) for where, other in enumerate(front)]
            finite = [value for value, _ in keys if math.isfinite(value)]
            if len({value for value, _ in keys}) == 1:
                continue
            below = [key for key in keys if key < keys[place]]
            above = [key for key in keys if key > keys[place]]
            if not below or not above:
                total = math.inf
                break
            low, high = max(below)[0], min(above)[0]
            span = max(finite) - min(finite)
            total += 0.0 if low == high else (high - low) / (span or 1.0)
        found.append(total)
    return found


def test_five_candidates():
    assert ranks(FIVE).tolist() == [0, 0, 0, 1, 2]
    assert non_dominated(FIVE).tolist() == [True, True, True, False, False]
    # Of the middle one: (4 - 1) / (4 - 1) in each of two columns.
    assert crowding(FIVE).tolist() == [math.inf, 2.0, math.inf, math.inf, math.inf]
    assert best_first(FIVE).tolist() == [0, 2, 1, 3, 4]


def test_the_more_crowded_of_a_rank_comes_later():
    front = np.array([[0.0, 10.0], [1.0, 9.0], [2.0, 8.0], [9.0, 1.0], [10.0, 0.0]])
    assert crowding(front)[1:4] == pytest.approx([0.4, 1.6, 1.6])
    assert best_first(front).tolist() == [0, 4, 2, 3, 1]


def test_a_value_that_is_not_there_is_the_worst():
    losses = np.array([[1.0, math.nan], [1.0, 1e300], [0.5, math.nan], [math.nan, math.nan]])
    assert ranks(losses).tolist() == [1, 0, 0, 2]
    assert non_dominated(losses).tolist() == [False, True, True, False]


def test_nothing_has_no_rank():
    nothing = np.empty((0, 2))
    assert len(ranks(nothing)) == len(crowding(nothing)) == len(non_dominated(nothing)) == len(best_first(nothing)) == 0


def test_with_one_objective_ranks_are_the_order_of_its_values():
    losses = np.array([[3.0], [1.0], [2.0], [1.0]])
    assert ranks(losses).tolist() == [2, 0, 1, 0]
    assert best_first(losses).tolist() == [1, 3, 2, 0]


def test_a_column_that_does_not_vary_says_nothing_of_crowding():
    front = np.array([[0.0, 4.0], [1.0, 3.0], [3.0, 1.0], [4.0, 0.0]])
    constant = np.hstack([front, np.full((4, 1), 7.0)])
    assert crowding(constant).tolist() == crowding(front).tolist() == [math.inf, 1.5, 1.5, math.inf]


@given(tables)
def test_a_rank_is_the_longest_chain_of_better_rows(losses):
    rows = rows_of(losses)
    assert ranks(losses).tolist() == [longest_chain(rows, row) for row in rows]


@given(tables)
def test_the_front_is_what_no_row_dominates(losses):
    rows = rows_of(losses)
    assert non_dominated(losses).tolist() == [not any(dominates(other, row) for other in rows) for row in rows]


@given(tables)
def test_crowding_is_the_distance_between_neighbours(losses):
    rows, rank = rows_of(losses), ranks(losses)
    for one in set(rank.tolist()):
        front = np.flatnonzero(rank == one)
        expected = distances([rows[place] for place in front])
        assert crowding(losses)[front] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(tables, st.randoms(use_true_random=False))
def test_ranks_do_not_depend_on_the_order_of_rows(losses, random):
    order = list(range(len(losses)))
    random.shuffle(order)
    assert ranks(losses[order]).tolist() == ranks(losses)[order].tolist()


@given(finite_tables, st.integers(-6, 6))
def test_ranks_and_crowding_do_not_depend_on_units(losses, power):
    """Powers of two, so that nothing is rounded."""
    scale = 2.0**power
    assert ranks(losses * scale).tolist() == ranks(losses).tolist()
    assert crowding(losses * scale) == pytest.approx(crowding(losses))


@given(tables)
def test_the_order_is_by_rank_then_by_room_then_as_they_come(losses):
    rank, room = ranks(losses).tolist(), crowding(losses).tolist()
    assert best_first(losses).tolist() == sorted(range(len(losses)), key=lambda row: (rank[row], -room[row], row))
