"""The detection of moving pixels by Delta, from its histograms over moving and over standing pixels.

Delta is the photometric error by depth and pose less that by flow. Histograms count it in even bins over [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.special import ndtr

Score = Literal["signed", "absolute"]
Counts = Sequence[int] | NDArray[np.int64]

ONE_SIGMA: Final = float(ndtr(-1.0))  # the share of a normal distribution below mean - sigma
SAME: Final = 9  # decimals of scores that are told apart: two bins at one distance from the mode are one score


@dataclass(frozen=True)
class Roc:
    """A receiver operating characteristic, from nothing called moving to everything.

    eta: thresholds, falling. fpr, tpr: shares of the pixels that stand still and of those that move that are called
    moving at each; NaN where there are none of the kind.
    """

    eta: NDArray[np.float64]
    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]


def edges(bins: int) -> NDArray[np.float64]:
    return np.linspace(-1.0, 1.0, bins + 1)


def centres(bins: int) -> NDArray[np.float64]:
    found = edges(bins)
    return (found[:-1] + found[1:]) / 2


def roc(static: Counts, moving: Counts, score: Score, mode: float = 0.0) -> Roc:
    """A pixel is called moving if its score lies above eta: `signed` Delta - mode, `absolute` |Delta - mode|.

    Every pixel counts at the centre of its bin. A threshold lies half way between two scores that differ, which for
    `signed` is a bin's edge: there the shares are those of the pixels themselves, at eta of edge - mode.
    """
    bins = len(static)
    distance = centres(bins) - mode
    scores = np.round(distance if score == "signed" else np.abs(distance), SAME)
    levels, place = np.unique(-scores, return_inverse=True)  # the highest score first
    half = 1.0 / bins
    inner = -(levels[:-1] + levels[1:]) / 2
    eta = np.concatenate([[half - levels[0]], inner, [-levels[-1] - half]])
    return Roc(eta, _called(static, place, len(levels)), _called(moving, place, len(levels)))


def area(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> float:
    """Under the curve: the probability that a moving pixel scores above one that stands still, ties counted half."""
    return float(trapezoid(tpr, fpr))


def best_eta(curve: Roc) -> float:
    """The threshold with the largest tpr - fpr (Youden's J); of equal ones the largest. NaN where there is no curve."""
    gain = curve.tpr - curve.fpr
    return float(curve.eta[np.argmax(gain)]) if np.isfinite(gain).all() else float("nan")


def at(curve: Roc, eta: float) -> tuple[float, float]:
    """fpr and tpr at the threshold that is nearest to eta."""
    nearest = int(np.abs(curve.eta - eta).argmin())
    return float(curve.fpr[nearest]), float(curve.tpr[nearest])


def quantile(counts: Counts, share: float) -> float:
    """The value below which this share of a histogram lies, evenly spread within each bin. NaN of an empty one."""
    sizes = np.asarray(counts, dtype=float)
    wanted = share * sizes.sum()
    if not wanted > 0:
        return float("nan")
    filled = np.cumsum(sizes)
    bin_ = min(int(np.searchsorted(filled, wanted)), len(sizes) - 1)
    inside = (wanted - (filled[bin_] - sizes[bin_])) / sizes[bin_]
    return float(edges(len(sizes))[bin_] + inside * 2.0 / len(sizes))


def spread(counts: Counts) -> float:
    """The robust deviation: half of the span between the 16th and the 84th percentile, which for a normal distribution
    is sigma; bins add to it, a hundredth where there are three to a sigma. NaN of an empty histogram."""
    return (quantile(counts, 1 - ONE_SIGMA) - quantile(counts, ONE_SIGMA)) / 2


def mean_between(counts: Counts, low: float, high: float) -> float:
    """Mean of what lies between low and high, evenly spread within each bin. NaN where nothing does."""
    sizes = np.asarray(counts, dtype=float)
    sides = edges(len(sizes))
    left, right = np.clip(sides[:-1], low, high), np.clip(sides[1:], low, high)
    weight = sizes * (right - left)
    return float((weight * (left + right) / 2).sum() / weight.sum()) if weight.sum() > 0 else float("nan")


def _called(counts: Counts, place: NDArray[np.intp], levels: int) -> NDArray[np.float64]:
    """The share at or above each level, after none."""
    sizes = np.bincount(place, np.asarray(counts, dtype=float), minlength=levels)
    total = sizes.sum()
    called = np.concatenate([[0.0], np.cumsum(sizes)])
    return called / total if total > 0 else np.full(levels + 1, np.nan)
