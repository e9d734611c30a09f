"""Contributions, gradient ratios, conflicts and convergence of single trials."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from weightsearch.analysis.conflict import conflict_matrix, strongest_conflict
from weightsearch.analysis.contribution import contributions, values
from weightsearch.analysis.convergence import convergence
from weightsearch.analysis.gradient_ratio import gradient_ratios

TERMS = pd.DataFrame(
    [
        (1, "b", 0.5, 2.0),
        (1, "a", 3.0, 1.0),
        (1, "off", 9.0, 0.0),
        (2, "b", -0.5, 2.0),
        (2, "a", 0.0, 1.0),
        (2, "off", math.nan, 0.0),
    ],
    columns=["epoch", "term", "value", "weight"],
)


def test_contributions_are_shares_of_the_sizes_of_weighted_terms():
    found = contributions(TERMS)
    assert list(found.columns) == ["b", "a", "off"]
    assert found.loc[1].to_dict() == {"b": 0.25, "a": 0.75, "off": 0.0}
    assert found.loc[2].to_dict() == {"b": 1.0, "a": 0.0, "off": 0.0}
    assert values(TERMS).loc[1, "a"] == 3.0


def test_a_common_factor_of_all_weights_changes_no_contribution():
    scaled = TERMS.assign(weight=TERMS["weight"] * 7)
    pd.testing.assert_frame_equal(contributions(scaled), contributions(TERMS))


def test_gradient_ratios_have_mean_one_over_the_terms_that_pull():
    norms = pd.DataFrame([(1, "a", 1.0), (1, "b", 3.0), (1, "off", 0.0)], columns=["epoch", "term", "value"])
    found = gradient_ratios(norms).loc[1]
    assert (found["a"], found["b"]) == (0.5, 1.5)
    assert math.isnan(found["off"])


def test_conflicts_are_means_over_epochs_in_a_symmetric_matrix():
    rows = pd.DataFrame([("a", "b", -0.5), ("a", "b", -0.1), ("b", "c", 0.2)], columns=["term", "other", "cosine"])
    found = conflict_matrix(rows, ["a", "b", "c", "off"])
    assert found.loc["a", "b"] == found.loc["b", "a"] == pytest.approx(-0.3)
    assert found.loc["b", "b"] == 1.0
    assert math.isnan(found.loc["a", "c"])
    assert math.isnan(found.loc["off", "off"])
    assert strongest_conflict(found) == ("a", "b", pytest.approx(-0.3))
    assert strongest_conflict(found.abs()) is None


@pytest.mark.parametrize(
    ("curve", "epoch"),
    [
        ([10.0, 4.0, 1.6, 1.04, 1.0, 1.01], 4),  # within 5 % of the fall of 9 from epoch 4 on
        ([3.0, 2.0, 1.0], None),  # still falling
        ([1.0, 2.0, 3.0], None),  # does not fall
        ([1.0, 1.0, 1.0], None),
        ([5.0, 1.0, 1.0, 2.0, 1.0, 1.0], 5),  # comes back up
    ],
)
def test_a_curve_has_levelled_off_once_it_stays_near_its_lowest_value(curve, epoch):
    assert convergence(curve).epoch == epoch


@pytest.mark.parametrize(
    ("curve", "trend"),
    [
        ([3.0, 2.0, 1.0], "still falling"),
        ([0.2508, 0.249, 0.252, 0.255, 0.2611], "rises"),
        ([1.0, 1.0001, 0.9999], "flat"),
        ([0.1054, 0.0819, 0.0736, 0.0708, 0.0606, 0.0659], "rises after epoch 5"),
        ([1.0, 0.5, 1.2], "rises"),
        ([1.0, 0.5, 0.995], "rises after epoch 2"),
        ([1.0, 1.0, 1.0], "flat"),
    ],
)
def test_a_curve_that_has_not_levelled_off_falls_rises_or_is_flat(curve, trend):
    assert convergence(curve).trend == trend


def test_too_short_or_broken_curves_say_nothing():
    assert convergence([1.0, 0.5]) is None
    assert convergence([1.0, math.nan, 0.5]) is None
    assert convergence([10.0, 4.0, 1.0]).fall == pytest.approx(0.9)
    assert convergence([10.0, 1.0, 4.0]).fall == pytest.approx(0.6)
    assert convergence([10.0, 11.0, 12.0]).fall == pytest.approx(-0.2)
