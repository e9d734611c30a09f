"""Results of the two histograms of Delta, compared with the samples that they were made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from weightsearch.records import DELTA_BINS
from weightsearch.systems.cotraining.detection import (
    area,
    at,
    best_eta,
    centres,
    edges,
    mean_between,
    quantile,
    roc,
    spread,
)

MODES = [0.0, 0.0101, 1 / 64, 1 / 128, -0.3]  # of all: of no bin, of a bin's edge, of a bin's centre, far off


def samples(seed: int, static: int = 4000, moving: int = 700) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    return random.normal(0.01, 0.05, static).clip(-1, 1), random.uniform(-0.1, 0.6, moving)


def counts(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.histogram(values, edges(DELTA_BINS))[0]


def binned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value in the middle of its bin."""
    place = np.floor((values + 1) * DELTA_BINS / 2).clip(0, DELTA_BINS - 1)
    return (place + 0.5) * 2 / DELTA_BINS - 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("score", ["signed", "absolute"])
def test_the_area_is_the_rank_statistic_of_the_binned_samples(score, mode):
    static, moving = samples(3)
    curve = roc(counts(static), counts(moving), score, mode)
    every = np.concatenate([binned(static), binned(moving)]) - mode
    every = np.round(every if score == "signed" else np.abs(every), 9)
    moves = np.arange(len(every)) >= len(static)
    n, m = len(static), len(moving)
    ranks = rankdata(every)  # ties share their mean rank
    by_rank = (ranks[moves].sum() - m * (m + 1) / 2) / (n * m)
    assert area(curve.fpr, curve.tpr) == pytest.approx(by_rank, abs=1e-9)
    assert area(curve.fpr, curve.tpr) == pytest.approx(roc_auc_score(moves, every), abs=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_signed_rates_are_those_of_the_samples_themselves(mode):
    static, moving = samples(4)
    curve = roc(counts(static), counts(moving), "signed", mode)
    assert len(curve.eta) == DELTA_BINS + 1
    for eta, fpr, tpr in zip(curve.eta, curve.fpr, curve.tpr, strict=True):
        assert fpr == pytest.approx((static - mode > eta).mean(), abs=1e-12)
        assert tpr == pytest.approx((moving - mode > eta).mean(), abs=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_absolute_rates_are_those_of_the_bins_centres(mode):
    static, moving = samples(5)
    curve = roc(counts(static), counts(moving), "absolute", mode)
    for eta, fpr, tpr in zip(curve.eta, curve.fpr, curve.tpr, strict=True):
        assert fpr == pytest.approx((np.abs(binned(static) - mode) > eta).mean(), abs=1e-12)
        assert tpr == pytest.approx((np.abs(binned(moving) - mode) > eta).mean(), abs=1e-12)


@pytest.mark.parametrize("score", ["signed", "absolute"])
def test_the_best_threshold_is_found_by_trying_every_one(score):
    static, moving = samples(6)
    curve = roc(counts(static), counts(moving), score, 0.01)

    def gain(eta: float) -> float:
        called = [values - 0.01 if score == "signed" else np.abs(values - 0.01) for values in map(binned, parts)]
        return float((called[1] > eta).mean() - (called[0] > eta).mean())

    parts = static, moving
    best = best_eta(curve)
    assert gain(best) == pytest.approx(max(gain(eta) for eta in np.linspace(-1, 1.2, 5000)), abs=1e-12)
    assert at(curve, best) == pytest.approx((at_samples(parts[0], best, score), at_samples(parts[1], best, score)))


def at_samples(values: NDArray[np.float64], eta: float, score: str) -> float:
    distance = binned(values) - 0.01
    return float(((distance if score == "signed" else np.abs(distance)) > eta).mean())


def test_the_sign_helps_where_moving_pixels_lie_on_one_side_and_hurts_nobody_else():
    """By the distance alone the lower half of the static pixels looks like the moving ones."""
    static, moving = map(counts, samples(7, 200_000, 50_000))
    signed, absolute = (roc(static, moving, score, 0.01) for score in ("signed", "absolute"))
    # P(U(-.1, .6) > N(.01, .05)) = E[(.6 - x) / .7] = .59 / .7, but for the 1.4 % of x below -.1
    assert area(signed.fpr, signed.tpr) == pytest.approx(0.59 / 0.7, abs=0.005)
    # Moving pixels within .11 of the mode, on both sides: |U| is .22 / .7 even over [0, .11], else .48 / .7 above it.
    within = 0.22 / 0.7 * (1 - 0.05 * math.sqrt(2 / math.pi) / 0.11)
    assert area(absolute.fpr, absolute.tpr) == pytest.approx(within + 0.48 / 0.7, abs=0.01)


def test_histograms_that_are_apart_or_alike():
    low, high = [0] * DELTA_BINS, [0] * DELTA_BINS
    low[60], high[90] = 5, 3
    apart = roc(low, high, "signed")
    assert area(apart.fpr, apart.tpr) == 1.0
    assert 60.5 < (best_eta(apart) + 1) * DELTA_BINS / 2 <= 90
    backwards = roc(high, low, "signed")
    assert area(backwards.fpr, backwards.tpr) == 0.0
    assert at(backwards, best_eta(backwards)) == (0.0, 0.0)  # to call nothing is best
    alike = roc(low, low, "absolute", 0.2)
    assert area(alike.fpr, alike.tpr) == 0.5


@pytest.mark.parametrize("score", ["signed", "absolute"])
def test_without_moving_or_static_pixels_nothing_is_known(score):
    some, none = counts(samples(8)[0]), [0] * DELTA_BINS
    for static, moving in ((some, none), (none, some), (none, none)):
        curve = roc(static, moving, score)
        assert math.isnan(area(curve.fpr, curve.tpr))
        assert math.isnan(best_eta(curve))
    assert math.isnan(spread(none))
    assert math.isnan(mean_between(none, -1, 1))
    assert math.isnan(mean_between(some, 0.9, 1))


def test_the_spread_is_sigma_of_a_normal_distribution_and_blind_to_outliers():
    random = np.random.default_rng(9)
    for sigma, bins in ((0.03, 0.03), (0.05, 0.01), (0.1, 0.003)):  # what its bins add to it
        values = random.normal(0.02, sigma, 400_000)
        assert spread(counts(values)) == pytest.approx(sigma * (1 + bins), rel=0.005)
    values[:4000] = 0.9
    assert np.std(values) > 1.2 * sigma
    assert spread(counts(values)) == pytest.approx(sigma, rel=0.02)


def test_quantiles_lie_evenly_inside_a_bin():
    one = [0] * DELTA_BINS
    one[64] = 10  # from 0 to 1/64
    assert [quantile(one, share) for share in (0.1, 0.5, 1.0)] == pytest.approx([0.1 / 64, 0.5 / 64, 1 / 64])
    two = [0] * DELTA_BINS
    two[0], two[127] = 1, 3
    assert quantile(two, 0.125) == pytest.approx(-1 + 0.5 / 64)
    assert quantile(two, 0.625) == pytest.approx(1 - 0.5 / 64)
    assert spread(one) == pytest.approx(0.6826894921 / 2 / 64)


def test_a_mean_between_two_values_is_that_of_the_samples_there():
    values = np.random.default_rng(10).normal(0.05, 0.1, 500_000)
    found = counts(values)
    for low, high in ((-1, 1), (-1, 0), (0.0, 0.125), (-0.03, 0.11)):
        inside = values[(values > low) & (values < high)]
        assert mean_between(found, low, high) == pytest.approx(inside.mean(), abs=1e-3)
    one = [0] * DELTA_BINS
    one[64] = 1
    assert mean_between(one, -1, 0.5 / 64) == pytest.approx(0.25 / 64)


def test_bins_are_even_over_minus_1_to_1():
    assert centres(4) == pytest.approx([-0.75, -0.25, 0.25, 0.75])
