from __future__ import annotations

import math
from itertools import pairwise

import pytest

from weightsearch.config import Choices, FloatRange, IntRange
from weightsearch.errors import SearchError
from weightsearch.search.space import as_stored, distributions, grid_points, inside

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


class TestEqualNumbersAreOneChoice:
    """10.0 is the choice 10; true is not 1."""

    @pytest.mark.parametrize(
        ("choices", "value", "stored"),
        [
            ((1, 10), 10.0, 10),
            ((1.0, 10.0), 10, 10.0),
            ((0, 1), True, None),
            ((True, False), 1, None),
            (([1, 2], [3, 4]), [3.0, 4], "[3, 4]"),
            (({"a": 1}, {"a": 2}), {"a": 2.0}, '{"a": 2}'),
            (("10", "1"), 10, None),
        ],
    )
    def test_as_the_database_stores_it(self, choices, value, stored):
        found = inside({"c": Choices(choices)}, {"c": value})
        assert found == ({} if stored is None else {"c": stored})
        assert [type(one) for one in found.values()] == ([] if stored is None else [type(stored)])

    def test_a_whole_number_in_a_range_of_whole_numbers(self):
        found = inside({"n": IntRange(2, 8)}, {"n": 5.0})
        assert found == {"n": 5}
        assert type(found["n"]) is int

    def test_choices_are_those_that_the_database_knows(self):
        space = {"c": Choices(([1.0, 2], [3, 4])), "n": IntRange(2, 8)}
        stored = {"c": Choices(([1, 2], [3, 4])), "n": FloatRange(2, 8)}
        assert as_stored(space, stored)["c"].labels() == ("[1, 2]", "[3, 4]")
        assert as_stored(space, stored)["n"] == IntRange(2, 8)
