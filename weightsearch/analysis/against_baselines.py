"""The winner against the baselines, as far as chance allows to tell them apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal["better", "worse", "as good", "undecided", "one seed"]

SAME: Final = 0.01  # a relative difference that does not matter

# Student's t, two-sided 95 %, by degrees of freedom from 1.
T_95: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


@dataclass(frozen=True)
class Comparison:
    """best, other: means over seeds. change: of the best against the other, relative (negative is lower). margin: half
    the 95 % confidence interval of the difference, relative to the other; None with one seed. pairs: seeds that both
    were trained with."""

    best: float
    other: float
    change: float
    margin: float | None
    pairs: int
    verdict: Verdict


def compare_pairs(best: Mapping[int, float], other: Mapping[int, float], *, minimize: bool) -> Comparison | None:
    """best, other: seed -> the objective's value. Differences are taken seed by seed, which removes what both share. A
    difference counts if its 95 % confidence interval (Student's t) excludes 0; as good means that the interval lies
    within ±1 %; all else is undecided. None without a common seed."""
    seeds = sorted(set(best) & set(other))
    if not seeds:
        return None
    mine, theirs = [best[seed] for seed in seeds], [other[seed] for seed in seeds]
    means = statistics.fmean(mine), statistics.fmean(theirs)
    difference = means[0] - means[1]
    scale = abs(means[1]) or 1.0
    if len(seeds) == 1:
        return Comparison(*means, difference / scale, None, 1, "one seed")
    margin = half_interval([a - b for a, b in zip(mine, theirs, strict=True)])
    better = difference < 0 if minimize else difference > 0
    verdict: Verdict = "better" if better else "worse"
    if abs(difference) + margin <= SAME * scale:
        verdict = "as good"
    elif abs(difference) <= margin:
        verdict = "undecided"
    return Comparison(*means, difference / scale, margin / scale, len(seeds), verdict)


def half_interval(values: Sequence[float]) -> float:
    """Half of the 95 % confidence interval of the mean of two or more values."""
    t = T_95[min(len(values) - 1, len(T_95)) - 1] if len(values) - 1 <= len(T_95) else 1.96
    return t * statistics.stdev(values) / math.sqrt(len(values))
