"""The arithmetic of rebalancing against simulation and against integrals of another kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from weightsearch.analysis.normal import below, density
from weightsearch.systems.cotraining.rebalancing import (
    Margin,
    closed_loop,
    closed_loop_path,
    margin,
    mills,
    needed_margin,
    normal_shares,
    off_normal,
    truncated_moments,
)

INTERVALS = [
    (0.0, 1.0, -1.0, 1.0),
    (0.02, 0.05, -0.03, 0.07),
    (0.02, 0.05, -math.inf, 0.0),
    (0.1, 0.03, 0.0, math.inf),
    (0.01, 0.05, 0.009, 0.0112),  # narrow
    (-0.2, 0.1, -0.9, 0.6),
    (0.0, 1.0, 8.0, math.inf),
    (0.0, 1.0, 8.0, 8.25),
    (0.0, 1.0, 8.0, 8.001),
    (0.3, 0.05, -1.0, -0.1),  # from 8 sigma down
    (0.0, 1.0, -math.inf, -8.0),
    (0.0, 1.0, 35.0, 36.0),
    (0.0, 1.0, -400.0, -100.0),
    (0.0, 1.0, -50.0, 60.0),
]


def integrated(mu: float, sigma: float, low: float, high: float) -> tuple[float, float]:
    """By adaptive quadrature of the density over its largest value there, where it is above e^-100 of that."""
    peak = min(max(mu, low), high)
    a, b = (max(low, mu - 15 * sigma), min(high, mu + 15 * sigma)) if low < mu < high else (low, high)
    reach = 100 * sigma / max(1.0, abs(peak - mu) / sigma)
    a, b = max(a, peak - reach), min(b, peak + reach)

    def weight(x: float) -> float:
        return math.exp(-(x - peak) * (x + peak - 2 * mu) / (2 * sigma**2))

    def over(f: Callable[[float], float]) -> float:
        pieces = np.linspace(a, b, 21)
        return sum(quad(f, left, right, epsabs=0, epsrel=1e-12)[0] for left, right in pairwise(pieces))

    mass = over(weight)
    shift = over(lambda x: (x - peak) * weight(x)) / mass
    return peak + shift, over(lambda x: (x - peak - shift) ** 2 * weight(x)) / mass


@pytest.mark.parametrize(("mu", "sigma", "low", "high"), INTERVALS)
def test_truncated_moments_are_those_of_an_integral(mu, sigma, low, high):
    mean, variance = truncated_moments(mu, sigma, low, high)
    by_integral = integrated(mu, sigma, low, high)
    assert mean == pytest.approx(by_integral[0], rel=1e-9, abs=1e-12)
    assert variance == pytest.approx(by_integral[1], rel=1e-8)
    assert low < mean < high


@pytest.mark.parametrize(("mu", "sigma", "low", "high"), INTERVALS[:6])
def test_truncated_moments_are_those_of_samples(mu, sigma, low, high):
    drawn = np.random.default_rng(0).normal(mu, sigma, 2_000_000)
    inside = drawn[(drawn > low) & (drawn < high)]
    mean, variance = truncated_moments(mu, sigma, low, high)
    error = inside.std() / math.sqrt(len(inside))
    assert len(inside) > 1000
    assert abs(inside.mean() - mean) < 4 * error
    squares = (inside - inside.mean()) ** 2
    assert abs(squares.mean() - variance) < 4 * squares.std() / math.sqrt(len(inside))


def test_truncated_moments_without_ends_and_of_no_interval():
    assert truncated_moments(0.3, 0.2, -math.inf, math.inf) == (0.3, pytest.approx(0.04))
    assert truncated_moments(0.0, 1.0, -1e-6, 1e-6) == (pytest.approx(0, abs=1e-20), pytest.approx(1e-12 / 3))
    with pytest.raises(ValueError, match="low 1 must lie below high 1"):
        truncated_moments(0.0, 1.0, 1.0, 1.0)


def test_far_out_a_tail_is_exponential():
    """Above a, with a large: mean a + 1/a - 2/a³, variance 1/a² - 6/a⁴."""
    for a in (100.0, 1e4, 1e6):
        mean, variance = truncated_moments(0.0, 1.0, a, math.inf)
        assert (mean - a) * a == pytest.approx(1 - 2 / a**2, abs=1e-3 if a > 1e5 else 1e-6)
        assert variance * a**2 == pytest.approx(1 - 6 / a**2, abs=1e-6)


def test_mills_ratio_where_the_distribution_has_numbers_and_where_it_has_none():
    for x in (-5.0, -1.0, 0.0, 0.5, 3.0, 8.0):
        assert mills(x) == pytest.approx(below(-x) / density(x), rel=1e-12)
    assert mills(100.0) == pytest.approx(1 / 100 - 1 / 100**3, rel=1e-6)
    assert needed_margin([60.0, -60.0]) == [pytest.approx(60.0166, rel=1e-5), 0.0]


# The right statement. With D = error by depth, F = error by flow, Delta = D - F ~ N(mu, sigma²), m = mu / sigma and the
# neighbourhood V = {|Delta - mu| <= eta}:
#   E[D | V]         = E[F | V] + E[Delta | V]                 = E[F | V] + mu                  (V is even about mu)
#   E[D | Delta < 0] = E[F | Delta < 0] + E[Delta | Delta < 0] = E[F | Delta < 0] + mu - sigma phi(m) / Phi(-m)
# so that depth's mean error L1 in the neighbourhood is below L2, that of the rule Delta < 0, if and only if
#   E[F | Delta < 0] - E[F | V] > sigma phi(m) / Phi(-m),
# and the difference between the two sides is L2 - L1.

SIGMA, ETA, SIZE = 0.05, 0.02, 1_000_000


def simulated(m: float, flow: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> tuple[Margin, float, float]:
    """The margin from what a record has of a million pixels, L2 - L1 of the same pixels, and its standard error."""
    random = np.random.default_rng(0)
    mu = m * SIGMA
    delta = random.normal(mu, SIGMA, SIZE)
    error_by_flow = flow(delta) + random.uniform(0, 0.02, SIZE)
    error_by_depth = error_by_flow + delta
    negative, near = delta < 0, np.abs(delta - mu) <= ETA
    found = margin(delta.mean(), delta.std(), error_by_flow[negative].mean(), error_by_flow[near].mean())
    two, one = error_by_depth[negative], error_by_depth[near]
    noise = math.sqrt(two.var() / len(two) + one.var() / len(one))
    return found, float(two.mean() - one.mean()), noise


def check(found: Margin, difference: float, noise: float, *, better: bool) -> None:
    assert found.found - found.needed == pytest.approx(difference, abs=4 * noise)
    assert abs(difference) > 10 * noise  # chance does not decide it
    assert found.better is better
    assert (difference > 0) is better


@pytest.mark.parametrize("m", [0.5, 0.9, 1.1, 2.0])
def test_a_larger_shift_makes_the_neighbourhood_the_worse_choice(m):
    """Flow's error is higher by as much as m = 1 needs where Delta < 0, and V lies above 0: the left side is the same
    for all m, and the right one passes it at 1."""
    step = SIGMA * needed_margin([1.0])[0]
    found, difference, noise = simulated(m, lambda delta: 0.1 + step * (delta < 0))
    assert step == pytest.approx(0.0763, abs=1e-4)
    assert found.found == pytest.approx(step, abs=4 * noise)
    assert found.needed == pytest.approx(SIGMA * needed_margin([m])[0], rel=0.01)
    check(found, difference, noise, better=m < 1)


@pytest.mark.parametrize("m", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("slope", [0.5, 0.9, 1.1, 2.0])
def test_the_choice_turns_where_flows_error_falls_as_fast_as_delta_rises(slope, m):
    """F = c - slope Delta: the left side is slope times the right one, whatever the shift."""
    found, difference, noise = simulated(m, lambda delta: 0.5 - slope * delta)
    assert found.found == pytest.approx(slope * found.needed, abs=4 * slope * noise + 4 * SIGMA / math.sqrt(SIZE))
    check(found, difference, noise, better=slope > 1)


def test_what_no_pixel_says_decides_nothing():
    for unknown in (margin(0.1, 0.05, math.nan, 0.1), margin(0.1, 0.0, 0.1, 0.1), margin(math.nan, math.nan, 0.1, 0.1)):
        assert unknown.better is None
    assert margin(0.05, 0.05, 0.3, 0.2) == Margin(pytest.approx(0.1), pytest.approx(0.0763, abs=1e-4))


def test_a_histogram_is_as_far_from_normal_as_pixels_would_have_to_change_place():
    edges = np.linspace(-1, 1, 129)
    drawn = np.random.default_rng(0).normal(0.02, 0.1, 1_000_000)
    counts = np.histogram(drawn, edges)[0]
    assert normal_shares(0.02, 0.1, edges) == pytest.approx(counts / 1e6, abs=4 * math.sqrt(0.07 / 1e6))
    assert off_normal(counts, 0.02, 0.1) < 0.005
    assert off_normal(counts, 0.02 + 0.1, 0.1) == pytest.approx(2 * below(0.5) - 1, abs=0.005)  # a shift of one sigma
    single = np.zeros(128)
    single[64] = 7  # [0, 1/64]: the rest of N(0, 1), within [-1, 1] and outside, has no pixel
    assert off_normal(single, 0.0, 1.0) == pytest.approx(1 - (below(1 / 64) - 0.5), abs=1e-12)
    assert math.isnan(off_normal(np.zeros(128), 0.0, 1.0))


def looped(start: float, sigma: float, rate: float, power: float, steps: int) -> list[float]:
    """The shift before the first step and after each."""
    shifts = [start]
    for i in range(1, steps + 1):
        shifts.append(shifts[-1] + rate / i**power * (2 * below(shifts[-1] / sigma) - 1))
    return shifts


@pytest.mark.parametrize(("power", "points"), [(0.5, 7), (1.0, 400)])
def test_the_path_is_the_closed_loop_at_its_steps(power, points):
    every = looped(0.01, 0.5, 0.1, power, 5000)
    steps, shifts = closed_loop_path(0.01, 0.5, 0.1, power, 5000, points)
    assert (steps[0], steps[-1]) == (1, 5000)
    assert len(steps) == len(set(steps)) <= points
    assert shifts == pytest.approx([every[step] for step in steps], rel=1e-9)
    for end in (0, -1):
        assert closed_loop(0.01, 0.5, 0.1, power, int(steps[end])) == shifts[end]


def test_steps_lie_evenly_on_a_logarithmic_axis():
    steps, _ = closed_loop_path(0.01, 1.0, 0.1, 1.0, 10_000, 5)
    assert list(steps) == [1, 10, 100, 1000, 10_000]


def test_zero_is_a_fixed_point_that_every_other_shift_leaves():
    assert set(closed_loop_path(0.0, 1.0, 0.1, 0.5, 2000, 50)[1]) == {0.0}
    for start in (1e-9, -1e-9, 0.3, -0.3):
        away = np.abs(closed_loop_path(start, 1.0, 0.1, 0.5, 2000, 50)[1])
        assert away[0] > abs(start)
        assert (np.diff(away) > 0).all()
    # Near 0 each step is a factor of 1 + rate * a_i * 2 phi(0) / sigma.
    factor = math.prod(1 + 0.1 * i**-0.5 * 2 * density(0) for i in range(1, 2001))
    assert closed_loop(1e-9, 1.0, 0.1, 0.5, 2000) == pytest.approx(1e-9 * factor, rel=1e-6)
