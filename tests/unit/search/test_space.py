from __future__ import annotations

import math
from itertools import pairwise

import pytest

from weightsearch.errors import SearchError
from weightsearch.search.space import distributions, grid_points, inside
from weightsearch.spec import Choices, FloatRange, IntRange

SPACE = {
    "w": FloatRange(0.1, 10, log=True),
    "s": FloatRange(0.0, 1.0, step=0.25),
    "n": IntRange(2, 8, step=3),
    "c": Choices(("a", 1, None, True, [1, 2])),
}


def test_distributions_are_the_ranges():
    found = distributions(SPACE)
    assert (found["w"].low, found["w"].high, found["w"].log) == (0.1, 10, True)
    assert found["s"].step == 0.25
    assert (found["n"].low, found["n"].high, found["n"].step) == (2, 8, 3)
    assert found["c"].choices == ("a", 1, None, True, "[1, 2]")


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("w", 0.1, True),
        ("w", 10, True),
        ("w", 0, False),
        ("w", 11, False),
        ("w", "1", False),
        ("w", True, False),
        ("s", 0.5, True),
        ("s", 0.6, False),
        ("n", 5, True),
        ("n", 4, False),
        ("c", [1, 2], True),
        ("c", "b", False),
        ("c", None, True),
        ("other", 1, False),
    ],
)
def test_only_values_that_lie_in_the_space_are_parameters(name, value, kept):
    assert (name in inside(SPACE, {name: value})) is kept


def test_lists_are_stored_as_text():
    assert inside(SPACE, {"c": [1, 2]}) == {"c": "[1, 2]"}


def test_grid_points():
    assert grid_points("s", SPACE["s"], None) == [0, 0.25, 0.5, 0.75, 1.0]
    assert grid_points("n", SPACE["n"], None) == [2, 5, 8]
    assert grid_points("c", SPACE["c"], None) == ["a", 1, None, True, "[1, 2]"]
    assert grid_points("w", SPACE["w"], 3) == pytest.approx([0.1, 1.0, 10])
    assert grid_points("w", SPACE["w"], 3)[0] == 0.1
    found = grid_points("w", SPACE["w"], 9)
    ratios = [math.log(b / a) for a, b in pairwise(found)]
    assert ratios == pytest.approx([ratios[0]] * 8)
    factors_of_four = grid_points("w", FloatRange(0.0375, 38.4, log=True), 6)
    assert factors_of_four == [0.0375, 0.15, 0.6, 2.4, 9.6, 38.4]  # as they are written, to the last bit
    assert grid_points("i", IntRange(1, 100, log=True), 3) == [1, 10, 100]


def test_a_continuous_range_needs_points():
    with pytest.raises(SearchError, match="w is a continuous range; a grid needs points or choices"):
        grid_points("w", SPACE["w"], None)
