"""Claims of the supplementary of CoopNet (WACV 2023) on gradient rebalancing, each figure computed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import numpy as np

from weightsearch.analysis.claim import HOLDS, WRONG, Claim, rounds_to
from weightsearch.analysis.rebalancing import closed_loop, mass, mean_within, needed_margin, signed_sum

SOURCE: Final = "co-training"


def _divergence() -> Claim:
    steps, share = 10**6, 0.25
    mean, spread = signed_sum(steps, share)
    doubled = signed_sum(2 * steps, share)[0]
    return Claim(
        "divergence",
        SOURCE,
        "the shift between the two errors diverges (eqs 8-10)",
        WRONG,
        f"only for independent signs, and then as the logarithm: after a million steps of 1/i with a quarter of the "
        f"signs negative the mean is {mean:.1f} (sd {spread:.1f}), after two million {doubled:.1f}; the shift itself "
        "lies in [-1, 1] and cannot diverge",
        "mean (1 - 2p) H_n and variance (1 - (1 - 2p)²) sum 1/i²",
        {"mean": mean, "sd": spread, "mean_at_two_million": doubled},
    )


def _fixed_point() -> Claim:
    start, sigma, rate, steps = 0.01, 1.0, 0.1, 200_000
    slow, fast = (closed_loop(start, sigma, rate, power, steps) for power in (0.5, 1.0))
    still = closed_loop(0.0, sigma, rate, 0.5, 1000)
    return Claim(
        "closed_loop",
        SOURCE,
        "a small shift grows without bound whatever the steps are",
        WRONG,
        f"0 is a fixed point that is not stable, and what comes of a shift of .01 goes by the sum of the steps: "
        f"1/sqrt(i) takes it to {slow:.0f} in 200,000 steps, 1/i to {fast:.3f} (neither clipped to [-1, 1])",
        "mu <- mu + .1 a_i (2 Phi(mu) - 1), in units of sigma",
        {"by_root": slow, "by_inverse": fast, "from_zero": still},
    )


def _prefactor() -> Claim:
    sigma = 0.05
    whole, printed = mass(sigma), mass(sigma) * sigma
    return Claim(
        "prefactor",
        SOURCE,
        "the densities of eqs 13 and 20 as printed, with the limits of eq 14",
        HOLDS if rounds_to("1.00", [printed]) else WRONG,
        f"the prefactor is 1 / (sqrt(2 pi) sigma), with which the density holds {whole:.3f} of the probability "
        f"(without sigma {printed:.3f}, for sigma .05); the limits of eq 14 are ±eta / sigma",
        "quadrature over ±10 sigma",
        {"mass": whole, "mass_without_sigma": printed},
    )


def _conditional_mean() -> Claim:
    mu, sigma = 0.1, 0.05
    reaches = (0.1, 0.01, 0.001)
    means = [mean_within(mu, sigma, reach) for reach in reaches]
    found = ", ".join(f"{mean:.3f} at eta {reach:g}" for mean, reach in zip(means, reaches, strict=True))
    return Claim(
        "conditional_mean",
        SOURCE,
        "the mean shift inside the neighbourhood vanishes with its width eta (eqs 13, 16-18, 24, 25)",
        HOLDS if means[-1] < 0.1 * mu else WRONG,
        f"eq 13 lacks the division by P(Delta in V); exactly, the mean is mu for every eta ({found}; mu = {mu:g}), "
        "so that eqs 16-18, 24 and 25 do not follow",
        "quadrature of E[Delta | |Delta - mu| <= eta] for N(mu, sigma²)",
        {f"at_eta_{reach:g}": mean for mean, reach in zip(means, reaches, strict=True)},
    )


def _larger_shift() -> Claim:
    shifts = (0.0, 0.5, 1.0, 2.0)
    margins = needed_margin(shifts)
    easier = all(b < a for a, b in pairwise(margins))
    return Claim(
        "larger_shift",
        SOURCE,
        "the larger the shift, the easier the neighbourhood beats the rule Delta < 0",
        HOLDS if easier else WRONG,
        "it does if E[flow's error | Delta < 0] - E[flow's error | V] > sigma phi(m) / Phi(-m), m = mu / sigma, which "
        f"grows with the shift: {', '.join(f'{margin:.3f}' for margin in margins)} sigma at m = 0, .5, 1, 2",
        "the hazard of the standard normal distribution",
        {f"at_{shift:g}": margin for shift, margin in zip(shifts, margins, strict=True)},
    )


def _epipolar() -> Claim:
    distances = np.random.default_rng(0).normal(0, 1, 100_000)
    signed, absolute = float(distances.mean()), float(np.abs(distances).mean())
    return Claim(
        "epipolar_distance",
        SOURCE,
        "the epipolar term is the mean signed distance to the epipolar line, as printed",
        WRONG if abs(signed) < 0.05 * absolute else HOLDS,
        f"it lacks the absolute value: of distances spread by 1 px to both sides the signed mean is {abs(signed):.3f} "
        f"px, the mean size {absolute:.3f} px",
        "100,000 draws from N(0, 1)",
        {"signed": signed, "absolute": absolute},
    )


# Sq Rel of models trained on Cityscapes alone, as the paper's table 1 prints them.
TABLE_1: Final[Mapping[str, float]] = MappingProxyType({"CoopNet": 1.157, "GLNet": 1.044, "Struct2Depth": 1.109})


def _table() -> Claim:
    ranked = sorted(TABLE_1, key=TABLE_1.__getitem__)
    return Claim(
        "table_1",
        SOURCE,
        "table 1 shows CoopNet before the others",
        HOLDS if ranked[0] == "CoopNet" else WRONG,
        "not in Sq Rel of training on Cityscapes alone: " + ", ".join(f"{name} {TABLE_1[name]:.3f}" for name in ranked),
        "the table's own figures, sorted",
        dict(TABLE_1),
    )


CLAIMS: Final[Mapping[str, Callable[[], Claim]]] = MappingProxyType(
    {
        "divergence": _divergence,
        "closed_loop": _fixed_point,
        "prefactor": _prefactor,
        "conditional_mean": _conditional_mean,
        "larger_shift": _larger_shift,
        "epipolar_distance": _epipolar,
        "table_1": _table,
    }
)
