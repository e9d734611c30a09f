from __future__ import annotations

import math

import numpy as np
import pytest

from weightsearch.errors import WeightsearchError
from weightsearch.systems.dual_head.quantisation import entropy, interval_shares, quantisation, relative_errors


@pytest.mark.parametrize(("max_depth", "largest_mm"), [(10, 21.57), (15, 1.961), (30, 60.78), (80, 158.8)])
def test_two_8_bit_heads_are_as_exact_as_the_levels_meet_whole_metres(max_depth, largest_mm):
    assert 1000 * quantisation(max_depth=max_depth).largest_error == pytest.approx(largest_mm, rel=1e-3)


def test_at_15_m_two_heads_beat_one_fifteenfold():
    found = quantisation(max_depth=15)
    assert 1000 * found.mean_error == pytest.approx(0.98, rel=1e-2)
    assert (1000 * found.single.largest_error, 1000 * found.single.mean_error) == pytest.approx(
        (29.41, 14.71), rel=1e-3
    )


@pytest.mark.parametrize(("max_depth", "levels"), [(15.0, 256), (10.0, 64), (7.5, 100), (80.0, 1024), (6.0, 2)])
def test_errors_are_those_of_rounding_every_depth(max_depth, levels):
    """Brute force over 200,000 depths."""
    depth = (np.arange(200_000) + 0.5) / 200_000 * max_depth
    whole = np.floor(depth)
    top = levels - 1
    decoded = np.round(whole / max_depth * top) / top * max_depth + np.round((depth - whole) * top) / top
    error = np.abs(decoded - depth)
    found = quantisation(max_depth=max_depth, levels=levels)
    assert found.largest_error == pytest.approx(error.max(), rel=2e-2)
    assert found.mean_error == pytest.approx(error.mean(), rel=5e-5)


def test_a_partial_last_metre_has_the_error_of_its_own_depths():
    """3.001 m: the fraction of the last metre stays below .001, where half of an 8-bit step is .00196."""
    found = quantisation(max_depth=3.001)
    assert found.largest_error == pytest.approx(0.002627451, rel=1e-6)  # 2 m decode to 1.999333, and half of a step
    assert quantisation(max_depth=0.6).mean_error == pytest.approx(1 / 255 / 4, rel=1e-9)


def test_rounded_decoding_removes_the_integer_head_s_error_or_makes_it_a_metre():
    """At 80 m an 8-bit step of the integer head is .314 m: rounding leaves the fraction's error alone. With 32 levels
    it is 2.58 m, and metres are lost."""
    assert quantisation(max_depth=80, decode="rounded").largest_error == pytest.approx(0.5 / 255, rel=1e-9)
    assert quantisation(max_depth=80, levels=32, decode="rounded").largest_error > 1


def test_information_of_the_integer_target():
    found = quantisation(max_depth=15, min_depth=0.5)
    assert (found.targets, found.integer.bits) == (15, 8.0)
    assert found.target_bits == pytest.approx(3.8925, abs=1e-4)
    assert entropy([0.25] * 4) == 2.0
    assert str(entropy([1.0])) == "0"
    assert sum(interval_shares(0.5, 7.3)) == pytest.approx(1.0)
    assert interval_shares(0.5, 2.0) == pytest.approx([1 / 3, 2 / 3])


def test_a_relative_error_falls_with_depth():
    assert relative_errors(0.15, [1, 3, 15]) == pytest.approx([0.15, 0.05, 0.01])


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_depth": 0.0},
        {"max_depth": 1.0, "min_depth": 2.0},
        {"max_depth": 5.0, "levels": 1},
        {"max_depth": math.inf},
        {"max_depth": 1e9},
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(WeightsearchError, match="expected"):
        quantisation(**wrong)
