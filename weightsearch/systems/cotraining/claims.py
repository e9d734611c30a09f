"""Claims of the supplementary of CoopNet (WACV 2023) on gradient rebalancing, with recomputed figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import numpy as np

from weightsearch.analysis.normal import below, density
from weightsearch.systems.claim import NOT_CHECKED, Claim, Rows, at, listed, rounds_to
from weightsearch.systems.cotraining.rebalancing import (
    closed_loop,
    mass,
    mean_within,
    needed_margin,
    signed_sum,
    truncated_moments,
)

SOURCE: Final = "co-training"
row: Final = Rows(SOURCE)
BY_TRAINING: Final = "rebalancing_helps"
SUPPLEMENT: Final = "supplementary of CoopNet (WACV 2023)"


def _sums_alike() -> Claim:
    """Eq 1 as printed: both errors are computed from the same warp."""
    flow = np.random.default_rng(0).uniform(0, 1, 10_000)
    delta = flow - flow
    share = 100 * float((np.abs(delta) <= 0.05).mean())
    return row(
        "errors_of_eq_1",
        "eq 1 defines the errors by depth and by flow alike",
        bool(delta.any()),
        f"a misprint: the difference Delta would be {np.abs(delta).max():g} at every pixel and V would keep "
        f"{share:.0f} %; the error by flow must use the frame warped by the flow",
        "Delta of two equal errors",
        {"largest_delta": float(np.abs(delta).max()), "kept_percent": share},
        f"{SUPPLEMENT}; taken as printed: the same warp in both errors",
    )


def _last_index() -> Claim:
    """Eq 7: n steps of a recursion from i = 1 are a sum whose last index is n."""
    steps = 10

    def summed(last: int) -> float:
        return float((1 / np.arange(1, last + 1)).sum())

    walked = 0.0
    for i in range(1, steps + 1):
        walked += 1 / i
    off = {last: summed(last) - walked for last in (steps - 1, steps, steps + 1)}
    return row(
        "last_index_of_eq_7",
        "the sum of eq 7 has the right last index",
        NOT_CHECKED,
        f"reported as wrong; the recursion from i = 1 after {steps} steps is the sum up to {steps}: one index more or "
        f"less changes the sum by {off[steps + 1]:+.3f} or {off[steps - 1]:+.3f} (steps of 1 / i), and no limit",
        "the recursion walked against its sum",
        {"one_more": off[steps + 1], "one_less": off[steps - 1], "equal": off[steps]},
        f"{SUPPLEMENT}; taken as printed: a sum over steps whose last index is not that of the recursion",
    )


def _probabilities() -> Claim:
    return row(
        "probabilities_of_eq_8",
        "eq 8 gives probabilities",
        NOT_CHECKED,
        "reported as impossible: its value is above 1 at i = 0, 1 and 2",
        "none: the formula could not be read",
        {},
        f"{SUPPLEMENT}; taken as reported, not as printed",
    )


def _divergence_of_mean() -> Claim:
    steps, share = 10**6, 0.25
    mean, doubled = (signed_sum(count, share)[0] for count in (steps, 2 * steps))
    expected = (1 - 2 * share) * math.log(2)
    return row(
        "divergence_eq_9",
        "the mean of the summed steps ±1/i grows without bound (eq 9)",
        math.isclose(doubled - mean, expected, rel_tol=1e-3),
        f"for independent signs, {share:g} of them negative, it is (1 - 2p) H_n: {mean:.1f} after {steps:,} steps, "
        f"{doubled:.1f} after {2 * steps:,}; each doubling adds {expected:.3f}, so it grows as the logarithm",
        "mean (1 - 2p) H_n, H_n the harmonic numbers",
        {"mean": mean, "mean_after_twice_as_many": doubled, "by_doubling": expected},
        f"{SUPPLEMENT}; taken as printed: the expected sum diverges",
    )


def _divergence_of_shift() -> Claim:
    steps, share, start = 10**6, 0.25, 0.01
    spread = signed_sum(steps, share)[1]
    limit = math.sqrt((1 - (1 - 2 * share) ** 2) * math.pi**2 / 6)
    loop = closed_loop(start, 1.0, 0.1, 1.0, 200_000)
    bound = 1.0  # both errors lie in [0, 1]
    return row(
        "divergence_eq_10",
        "the shift between the two errors therefore diverges (eq 10)",
        bound == math.inf,
        f"Delta is a difference of two errors in [0, 1], so that |Delta| <= {bound:g}; signs that depend on the shift "
        f"are not independent, and with them steps of 1/i take a shift of {start:g} to {loop:.3f}; for independent "
        f"signs too the standard deviation has a limit, {limit:.2f} ({spread:.2f} after {steps:,} steps)",
        "the range of Delta; the closed loop of the row closed_loop; variance (1 - (1 - 2p)²) sum 1/i²",
        {"bound": bound, "closed_loop": loop, "sd": spread, "sd_limit": limit},
        f"{SUPPLEMENT}; taken as printed: the shift itself diverges",
    )


def _fixed_point() -> Claim:
    start, sigma, rate, steps = 0.01, 1.0, 0.1, 200_000
    slow, fast = (closed_loop(start, sigma, rate, power, steps) for power in (0.5, 1.0))
    still = closed_loop(0.0, sigma, rate, 0.5, 1000)
    return row(
        "closed_loop",
        "a small shift grows without bound whatever the steps are",
        min(slow, fast) > 1 and still > 0,
        f"0 is an unstable fixed point (from 0 the shift stays {still:g}), and the growth of a shift of {start:g} "
        f"depends on the sum of the steps: 1/sqrt(i) takes it to {slow:.0f} in {steps:,} steps, 1/i to {fast:.3f} "
        "(neither is clipped to [-1, 1])",
        f"mu <- mu + {rate:g} a_i (2 Phi(mu) - 1), in units of sigma",
        {"by_root": slow, "by_inverse": fast, "from_zero": still},
        f"{SUPPLEMENT}; taken as printed: growth whatever the steps are",
    )


def _prefactor() -> Claim:
    sigma = 0.05
    right = mass(sigma)
    printed = right * sigma / math.sqrt(sigma)  # 1 / sqrt(2 pi sigma) in place of 1 / (sqrt(2 pi) sigma)
    return row(
        "prefactor",
        "the density of eqs 13 and 20 has the prefactor 1 / sqrt(2 pi sigma)",
        rounds_to("1.00", [printed]),
        f"with it the density holds {printed:.4f} of the probability at sigma {sigma:g} (sqrt sigma, for any sigma); "
        f"with 1 / (sqrt(2 pi) sigma) it holds {right:.4f}; the limits of eq 14 are ±eta / sigma",
        "quadrature over ±10 sigma",
        {"mass": right, "mass_as_printed": printed},
        SUPPLEMENT,
    )


def _conditional_mean() -> Claim:
    mu, sigma = 0.1, 0.05
    reaches = (0.1, 0.01, 0.001)
    means = [mean_within(mu, sigma, reach) for reach in reaches]
    undivided = [
        mean * (below(reach / sigma) - below(-reach / sigma)) for mean, reach in zip(means, reaches, strict=True)
    ]
    undivided_words, mean_words = (
        ", ".join(f"{value:.3g} at eta {reach:g}" for value, reach in zip(values, reaches, strict=True))
        for values in (undivided, means)
    )
    return row(
        "conditional_mean",
        "the mean shift inside the neighbourhood vanishes with its width eta (eqs 13, 16-18, 24, 25)",
        means[-1] < 0.1 * mu,
        f"eq 13's integral vanishes since it lacks the division by P(Delta in V): {undivided_words}; divided by it the "
        f"mean is mu for every eta ({mean_words}; mu = {mu:g}), so that eqs 16-18, 24 and 25 do not follow",
        f"quadrature of E[Delta | |Delta - mu| <= eta] for N(mu, sigma²), sigma = {sigma:g}, and that times P",
        at("at_eta_{:g}", reaches, means) | at("undivided_at_eta_{:g}", reaches, undivided),
        SUPPLEMENT,
    )


def _undivided() -> Claim:
    sigma = 0.05
    shifts = (0.0, 1.0, 2.0)
    shares = [below(-m) for m in shifts]
    right = [truncated_moments(m * sigma, sigma, -math.inf, 0.0)[0] for m in shifts]
    printed = [mean * share for mean, share in zip(right, shares, strict=True)]
    factors = [1 / share for share in shares]
    return row(
        "means_of_eqs_20_to_22",
        "eqs 20-22 give the means where Delta < 0",
        all(math.isclose(a, b, rel_tol=0.01) for a, b in zip(right, printed, strict=True)),
        f"they lack the division by P(Delta < 0), {listed(shares, '.3f')} at m = mu / sigma = {listed(shifts, 'g')}: "
        f"the printed means of Delta are {listed(printed, '.4f')}, the right ones {listed(right, '.4f')} "
        f"(sigma {sigma:g}), {listed(factors, '.1f')} times as large",
        "mu - sigma phi(m) / Phi(-m), and that times Phi(-m)",
        at("right_at_{:g}", shifts, right)
        | at("printed_at_{:g}", shifts, printed)
        | at("share_at_{:g}", shifts, shares),
        f"{SUPPLEMENT}; taken as printed: integrals over Delta < 0, not divided by their mass",
    )


def _larger_shift() -> Claim:
    shifts = (0.0, 0.5, 1.0, 2.0)
    margins = needed_margin(shifts)
    easier = all(b < a for a, b in pairwise(margins))
    return row(
        "larger_shift",
        "the larger the shift, the easier the neighbourhood beats the rule Delta < 0",
        easier,
        "the neighbourhood is better if E[flow's error | Delta < 0] - E[flow's error | V] > sigma phi(m) / Phi(-m), "
        "m = mu / sigma, which "
        f"grows with the shift: {listed(margins, '.3f')} sigma at m = {listed(shifts, 'g')}",
        "the hazard of the standard normal distribution",
        at("at_{:g}", shifts, margins),
        SUPPLEMENT,
    )


def _epipolar() -> Claim:
    sigma = 1.0
    signed, absolute = 0.0, sigma * 2 * density(0)  # of N(0, sigma²), whose density is even
    return row(
        "epipolar_distance",
        "the epipolar term is the mean signed distance to the epipolar line",
        abs(signed) >= 0.05 * absolute,
        f"it lacks the absolute value: distances spread by {sigma:g} px to both sides have a signed mean of {signed:g} "
        f"px and a mean size of {absolute:.3f} px",
        "the first moments of N(0, 1): 0 and sqrt(2 / pi)",
        {"signed": signed, "absolute": absolute},
        SUPPLEMENT,
    )


# Table 1, models trained on Cityscapes alone: column -> model -> value; lower is better.
TABLE_1: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {"Sq Rel": MappingProxyType({"CoopNet": 1.157, "GLNet": 1.044, "Struct2Depth": 1.109})}
)


def _column(column: str) -> Claim:
    values = TABLE_1[column]
    ranked = sorted(values, key=values.__getitem__)
    return row(
        f"table_1_{column.lower().replace(' ', '_')}",
        f"trained on Cityscapes alone CoopNet is before the others in {column}",
        ranked[0] == "CoopNet",
        "the order is " + ", ".join(f"{name} {values[name]:.3f}" for name in ranked),
        "the column's own figures, sorted",
        values,
        f"table 1 of CoopNet (WACV 2023); only the columns {', '.join(TABLE_1)} could be read, no other is judged",
    )


def _rebalancing_helps() -> Claim:
    return row.by_training(
        BY_TRAINING,
        "rebalancing improves depth, odometry and flow that are trained together",
        "training decides, with the best weights of each method: see the evidence of a study with the method `none` "
        "among its baselines",
        "CoopNet (WACV 2023), abstract",
    )


CLAIMS: Final[tuple[Callable[[], Claim], ...]] = (
    _sums_alike,
    _last_index,
    _probabilities,
    _divergence_of_mean,
    _divergence_of_shift,
    _fixed_point,
    _prefactor,
    _conditional_mean,
    _undivided,
    _larger_shift,
    _epipolar,
    *(partial(_column, column) for column in TABLE_1),
    _rebalancing_helps,
)
