"""Compare the best trial with baselines over new seeds: significance of the differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Outcome = Literal["better", "worse", "as good", "undecided", "one seed"]
Values = Mapping[int, float]  # by seed

SAME: Final = 0.01  # relative difference below which two means count as equal
ROUNDING: Final = 1e-9  # relative spread below which values differ by rounding only
LEVEL: Final = 0.05  # probability of any false verdict in a study


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison. best, other: means over seeds. change: their difference relative to `other`
    (negative: the best is lower). margin: half of the difference's 95 % confidence interval, relative to `other`, not
    corrected for the other comparisons. p: p-value of Student's t-test, after Holm's correction for all comparisons.
    margin and p are None with one seed. pairs: the number of seeds compared. verdict: the outcome for the best."""

    best: float
    other: float
    change: float
    margin: float | None
    p: float | None
    pairs: int
    verdict: Outcome


@dataclass(frozen=True)
class Pair:
    """Values to compare. best: seed -> the objective's value. other: the same, or one value for every seed."""

    best: Values
    other: Values | float
    minimize: bool


def compare_all(pairs: Mapping[str, Pair]) -> dict[str, Comparison]:
    """Compare pairs, by name; pairs without a common seed are left out.

    Differences are taken seed by seed, which removes the effect that a seed has on both. Each comparison is a Student's
    t-test. Holm's correction keeps the probability of any false `better` or `worse` at 5 % whatever the dependence
    between the comparisons (Dunnett's test does not fit: it assumes independent samples, and these share the best's
    values and their seeds). `as good` means that the confidence interval, at 95 % for all comparisons together
    (Bonferroni), lies within ±1 %. Otherwise the outcome is `undecided`, or `one seed`.
    """
    samples: dict[str, tuple[NDArray[np.float64], float]] = {}
    for name, pair in pairs.items():
        other = pair.other
        seeds = sorted(pair.best if isinstance(other, (int, float)) else set(pair.best) & set(other))
        if seeds:
            theirs = [float(other) if isinstance(other, (int, float)) else other[seed] for seed in seeds]
            samples[name] = np.subtract([pair.best[seed] for seed in seeds], theirs), float(np.mean(theirs))
    tested = [name for name, (differences, _) in samples.items() if len(differences) > 1]
    p_values = dict(zip(tested, holm([_p_value(samples[name][0]) for name in tested]), strict=True))
    return {
        name: _comparison(differences, other, p_values.get(name), len(tested), minimize=pairs[name].minimize)
        for name, (differences, other) in samples.items()
    }


def compare_pairs(best: Values, other: Values | float, *, minimize: bool) -> Comparison | None:
    """Compare one pair, as compare_all does. None without a common seed."""
    return compare_all({"pair": Pair(best, other, minimize)}).get("pair")


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values after Holm's step-down correction (Holm 1979); SciPy and NumPy do not have it.

    The smallest p-value is multiplied by their number, the next by one less and so on; corrected values never decrease
    and are at most 1.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors).clip(max=1.0)
    return [float(value) for value in corrected]


def significant_from(seeds: int) -> float:
    """The smallest significant difference of one comparison over two or more seeds, in standard deviations of the
    differences between seeds (Student's t-test)."""
    return float(stats.t.isf(LEVEL / 2, seeds - 1)) / math.sqrt(seeds)


def half_interval(values: Sequence[float] | NDArray[np.float64], level: float = LEVEL) -> float:
    """Half of the confidence interval of the mean of two or more values (Student's t)."""
    return float(stats.t.isf(level / 2, len(values) - 1) * stats.sem(values))


def _p_value(values: NDArray[np.float64]) -> float:
    """The p-value of mean 0 for two or more values (Student's t-test)."""
    if np.ptp(values) <= ROUNDING * np.abs(values).max():  # without spread SciPy gives NaN or a warning
        return float(values[0] == 0)
    return float(stats.ttest_1samp(values, 0.0).pvalue)


def _comparison(
    differences: NDArray[np.float64], other: float, p: float | None, tests: int, *, minimize: bool
) -> Comparison:
    difference = float(differences.mean())
    scale = abs(other) or 1.0
    change, pairs = difference / scale, len(differences)
    if p is None:
        return Comparison(other + difference, other, change, None, None, pairs, "one seed")
    verdict: Outcome = "undecided"
    if abs(difference) + half_interval(differences, LEVEL / tests) <= SAME * scale:
        verdict = "as good"
    elif p < LEVEL:
        verdict = "better" if (difference < 0) == minimize else "worse"
    return Comparison(other + difference, other, change, half_interval(differences) / scale, p, pairs, verdict)
