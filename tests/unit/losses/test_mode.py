from __future__ import annotations

import numpy as np
import pytest
import torch

from weightsearch.losses.mode import ESTIMATORS, half_sample, histogram, median


def mixture(count: int = 50_000, seed: int = 0) -> torch.Tensor:
    """Nine parts N(.01, .03), one part U(.05, .6): what stands still, and what moves."""
    rng = np.random.default_rng(seed)
    moving = rng.uniform(size=count) < 0.1
    return torch.from_numpy(np.where(moving, rng.uniform(0.05, 0.6, count), rng.normal(0.01, 0.03, count)))


def everything(values):
    return torch.ones_like(values, dtype=torch.bool)


def test_the_peak_of_what_stands_still_is_found_under_what_moves():
    """The mean, .041, and even the median, .014, are drawn away from .01."""
    values = mixture()
    assert float(values.mean()) == pytest.approx(0.0415, abs=0.001)
    assert float(histogram(values, everything(values))) == pytest.approx(0.01, abs=0.003)
    assert float(median(values, everything(values))) == pytest.approx(0.0142, abs=0.001)
    found = [float(half_sample(mixture(seed=seed), everything(values))) for seed in range(5)]
    assert np.mean(found) == pytest.approx(0.01, abs=0.012)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_what_does_not_count_has_no_influence(name):
    values = mixture(4001)
    counted = torch.rand(len(values), generator=torch.Generator().manual_seed(1)) < 0.6
    spoiled = values.masked_fill(~counted, 0.9)
    alone = values[counted]
    assert float(ESTIMATORS[name](spoiled, counted)) == float(ESTIMATORS[name](alone, everything(alone)))


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("count", [1, 2, 3, 4, 17])
def test_of_equal_values_it_is_the_value(name, count):
    values = torch.full((count,), 0.25)
    assert float(ESTIMATORS[name](values, everything(values))) == pytest.approx(0.25, abs=1 / 256)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_of_nothing_it_is_nan(name):
    values = torch.zeros(5)
    assert bool(ESTIMATORS[name](values, torch.zeros(5, dtype=torch.bool)).isnan())


def slow_half_sample(values: list[float]) -> float:
    """As its authors write it."""
    left = sorted(values)
    while len(left) > 2:
        half = (len(left) + 1) // 2
        widths = [left[start + half - 1] - left[start] for start in range(len(left) - half + 1)]
        start = int(np.argmin(widths))
        left = left[start : start + half]
    return sum(left) / len(left)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 100, 1001])
@pytest.mark.parametrize("seed", range(5))
def test_the_half_sample_mode_is_its_authors(count, seed):
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=count))
    assert float(half_sample(values, everything(values))) == pytest.approx(slow_half_sample(values.tolist()), abs=1e-12)


def test_the_median_is_the_lower_one():
    values = torch.tensor([4.0, 1, 3, 2])
    assert float(median(values, everything(values))) == 2


def test_values_at_the_ends_of_the_histogram_are_counted():
    for value in (-1.0, 1.0, 7.0, -3.0):
        values = torch.full((9,), value)
        assert float(histogram(values, everything(values))) == pytest.approx(max(-1, min(1, value)), abs=1 / 256)
