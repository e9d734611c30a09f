"""Every row of the tables of published claims: its verdict and its right figures."""

from __future__ import annotations

import math

import pytest

from weightsearch.analysis.claim import Claim, rounds_to
from weightsearch.analysis.claims import all_claims
from weightsearch.analysis.noise_model import expected_error
from weightsearch.analysis.rebalancing import below, closed_loop, mean_within, needed_margin

# name -> verdict, numbers, and how exactly they are known.
TABLE = {
    "sensitivity": ("holds", {"integer_mm": 150, "fractional_mm": 10, "ratio": 15}, 1e-9),
    "integer_interval": (
        "wrong",
        {"claimed_mm": 312.5, "claimed_bits": 5.585, "step_mm": 58.82, "targets": 15, "bits": 3.892},
        1e-3,
    ),
    "fractional_interval": ("holds", {"by_256_mm": 3.906, "by_255_mm": 3.922}, 1e-3),
    "integer_relative_error": (
        "wrong",
        {
            "at_1_m_percent": 15,
            "at_2_m_percent": 7.5,
            "at_3_m_percent": 5,
            "at_5_m_percent": 3,
            "at_10_m_percent": 1.5,
            "at_15_m_percent": 1,
        },
        1e-9,
    ),
    "fractional_relative_error": (
        "holds",
        {
            "at_1_m_percent": 1,
            "at_2_m_percent": 0.5,
            "at_3_m_percent": 1 / 3,
            "at_5_m_percent": 0.2,
            "at_10_m_percent": 0.1,
            "at_15_m_percent": 1 / 15,
        },
        1e-9,
    ),
    "independence_of_depth": ("wrong", {"fall": 15, "ratio_at_1_m": 15, "ratio_at_15_m": 15}, 1e-9),
    "largest_relative_error": ("not reproduced", {"percent": 30}, 1e-9),
    "simulated_losses": (
        "holds for one seed",
        {"integer": 0.0389, "fractional": 0.0386, "unclipped": 0.0399, "spread": 0.0009},
        0.05,
    ),
    "split_1_to_10": ("holds", {"integer_percent": 9.42, "fractional_percent": 90.58}, 1e-3),
    "split_1_to_5_and_20": (
        "wrong",
        {
            "integer_percent_5": 17.2,
            "fractional_percent_5": 82.8,
            "integer_percent_20": 4.94,
            "fractional_percent_20": 95.06,
        },
        2e-3,
    ),
    "gradient_ratio": ("wrong", {"ratio": 10, "ratio_at_a_tenth_of_the_loss": 10}, 1e-9),
    "optimum_condition": ("vacuous", {"at_1": 0.9614, "at_10": 0.9614, "at_100": 0.9614}, 1e-3),
    "bits_ratio": (
        "arithmetic holds, premise wrong",
        {"claimed": 1.432, "factor": 6.98, "by_entropy": 2.055, "by_heads": 1},
        1e-3,
    ),
    "consistency_left_out": (
        "wrong",
        {
            "consistency_m": 0.585,
            "integer_percent": 5.51,
            "fractional_percent": 53.0,
            "consistency_percent": 41.5,
            "integer_gradient": 8.44,
            "fractional_gradient": 10.03,
        },
        2e-3,
    ),
    "best_weights": ("unsupported", {}, 0),
    "divergence": ("wrong", {"mean": 7.196, "sd": 1.111}, 1e-3),
    "closed_loop": ("wrong", {"by_root": 84.2, "by_inverse": 0.0276, "from_zero": 0.0}, 1e-2),
    "prefactor": ("wrong", {"mass": 1.0, "mass_without_sigma": 0.05}, 1e-6),
    "conditional_mean": ("wrong", {"at_eta_0.1": 0.1, "at_eta_0.01": 0.1, "at_eta_0.001": 0.1}, 1e-6),
    "larger_shift": ("wrong", {"at_0": 0.798, "at_0.5": 1.141, "at_1": 1.525, "at_2": 2.373}, 1e-3),
    "epipolar_distance": ("wrong", {"absolute": 0.798}, 1e-2),
    "table_1": ("wrong", {"CoopNet": 1.157, "GLNet": 1.044, "Struct2Depth": 1.109}, 1e-9),
}


@pytest.fixture(scope="module")
def claims() -> dict[str, Claim]:
    return {claim.name: claim for claim in all_claims()}


def test_the_claims_are_those_of_the_tables(claims):
    assert list(claims) == list(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_verdict_and_figures(claims, name):
    verdict, numbers, tolerance = TABLE[name]
    claim = claims[name]
    assert claim.verdict == verdict
    for what, value in numbers.items():
        assert claim.numbers[what] == pytest.approx(value, rel=tolerance, abs=1e-12), what
    assert claim.claimed
    assert claim.right
    assert claim.how


@pytest.mark.parametrize(
    ("name", "figures"),
    {
        "integer_interval": ("58.8 mm", "15 values", "3.89 bits"),
        "integer_relative_error": ("15/7.5/5/3/1.5/1 %",),
        "simulated_losses": (".0389", ".0386", ".0399", ".0009"),
        "split_1_to_5_and_20": ("17.2 and 82.8", "4.94 and 95.06"),
        "consistency_left_out": ("0.585 m", "5.5/53.0/41.5", "8.44 : 10.03"),
        "divergence": ("7.2 (sd 1.1)",),
        "closed_loop": ("to 84", "0.028"),
        "larger_shift": ("0.798, 1.141, 1.525, 2.373",),
    }.items(),
)
def test_the_words_have_the_figures(claims, name, figures):
    for figure in figures:
        assert figure in claims[name].right


def test_evidence_stands_with_the_claim_that_training_decides():
    found = {claim.name: claim.evidence for claim in all_claims("1 : 1 is better")}
    assert found.pop("best_weights") == "1 : 1 is better"
    assert not any(found.values())


def test_a_figure_agrees_if_the_right_one_rounds_to_it():
    assert rounds_to(".07/1.43/150", [1 / 15, 1.4324, 150.4])
    assert not rounds_to(".07", [0.0751])
    assert not rounds_to("16.7/83.3", [17.2, 82.8])


def test_the_clipped_error_is_that_of_a_numerical_integral():
    """E|clip(t + e, 0, 1) - t| with a midpoint rule over ±8 sigma."""
    sigma, steps = 0.05, 40_000
    for target in (0.0, 0.03, 0.5, 0.98):
        total = 0.0
        for i in range(steps):
            e = (-8 + 16 * (i + 0.5) / steps) * sigma
            weight = math.exp(-((e / sigma) ** 2) / 2) / math.sqrt(2 * math.pi) * 16 / steps
            total += abs(min(max(target + e, 0.0), 1.0) - target) * weight
        assert expected_error(target, sigma) == pytest.approx(total, rel=1e-6)


def test_a_shift_of_zero_stays_and_the_smallest_one_leaves():
    assert closed_loop(0.0, 1.0, 0.1, 0.5, 1000) == 0.0
    assert closed_loop(1e-6, 1.0, 0.1, 0.5, 2000) > 1e-3
    assert closed_loop(-1e-6, 1.0, 0.1, 0.5, 2000) < -1e-3


def test_the_mean_inside_a_neighbourhood_of_another_centre_moves_with_the_density():
    assert mean_within(0.0, 1.0, 3.0) == pytest.approx(0.0, abs=1e-12)
    assert mean_within(0.7, 0.2, 0.05) == pytest.approx(0.7, rel=1e-9)


def test_the_margin_is_the_hazard_of_the_normal_distribution():
    assert below(0.0) == 0.5
    assert needed_margin([0.0])[0] == pytest.approx(math.sqrt(2 / math.pi), rel=1e-12)
    assert needed_margin([5.0])[0] == pytest.approx(5 + 1 / 5, rel=0.02)  # m + 1/m for large m
