"""Detection of moving pixels by Delta, from its histograms over moving and over static pixels.

Delta is the photometric error by depth and pose minus the photometric error by flow. Histograms have equal bins over
[-1, 1].
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

ONE_SIGMA: Final = float(ndtr(-1.0))  # share of a normal distribution below mean - sigma
SAME: Final = 9  # decimals to which scores are compared: bins at equal distance from the mode have the same score


@dataclass(frozen=True)
class Roc:
    """Receiver operating characteristic, from no pixel detected to all pixels detected.

    eta: thresholds, falling. fpr, tpr: false-positive rate (static pixels) and true-positive rate (moving pixels) at
    each threshold; NaN without pixels of the kind.
    """

    eta: NDArray[np.float64]
    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]


def edges(bins: int) -> NDArray[np.float64]:
    return np.linspace(-1.0, 1.0, bins + 1)


def centres(bins: int) -> NDArray[np.float64]:
    borders = edges(bins)
    return (borders[:-1] + borders[1:]) / 2


def roc(static: Counts, moving: Counts, score: Score, mode: float = 0.0) -> Roc:
    """Compute the ROC of detecting a pixel as moving if its score is above eta.

    score: `signed` is Delta - mode, `absolute` is |Delta - mode|. Every pixel counts at the centre of its bin.
    Thresholds lie half way between neighbouring scores. For `signed` these are the edges of the bins, where the rates
    are exact: eta = edge - mode.
    """
    bins = len(static)
    distance = centres(bins) - mode
    scores = np.round(distance if score == "signed" else np.abs(distance), SAME)
    levels, level = np.unique(-scores, return_inverse=True)  # highest score first
    half = 1.0 / bins
    inner = -(levels[:-1] + levels[1:]) / 2
    eta = np.concatenate([[half - levels[0]], inner, [-levels[-1] - half]])
    return Roc(eta, _called(static, level, len(levels)), _called(moving, level, len(levels)))


def area(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> float:
    """Area under the curve: the probability that a moving pixel scores above a static pixel; ties count half."""
    return float(trapezoid(tpr, fpr))


def best_eta(curve: Roc) -> float:
    """Threshold with the largest tpr - fpr (Youden's J), the largest if tied; NaN if a rate is NaN."""
    gain = curve.tpr - curve.fpr
    return float(curve.eta[np.argmax(gain)]) if np.isfinite(gain).all() else float("nan")


def at(curve: Roc, eta: float) -> tuple[float, float]:
    """fpr and tpr at the threshold nearest to eta."""
    nearest = int(np.abs(curve.eta - eta).argmin())
    return float(curve.fpr[nearest]), float(curve.tpr[nearest])


def quantile(counts: Counts, share: float) -> float:
    """Quantile of a histogram, with uniform bins. share: in [0, 1]. NaN for an empty histogram."""
    sizes = np.asarray(counts, dtype=float)
    wanted = share * sizes.sum()
    if not wanted > 0:
        return float("nan")
    filled = np.cumsum(sizes)
    bin_ = min(int(np.searchsorted(filled, wanted)), len(sizes) - 1)
    inside = (wanted - (filled[bin_] - sizes[bin_])) / sizes[bin_]
    return float(edges(len(sizes))[bin_] + inside * 2.0 / len(sizes))


def spread(counts: Counts) -> float:
    """Robust standard deviation: half of the span from the 16th to the 84th percentile, which is sigma for a normal
    distribution. Binning adds about 1 % with three bins per sigma. NaN for an empty histogram."""
    return (quantile(counts, 1 - ONE_SIGMA) - quantile(counts, ONE_SIGMA)) / 2


def mean_between(counts: Counts, low: float, high: float) -> float:
    """Mean of a histogram between low and high, with uniform bins. NaN if it is empty there."""
    sizes = np.asarray(counts, dtype=float)
    sides = edges(len(sizes))
    left, right = np.clip(sides[:-1], low, high), np.clip(sides[1:], low, high)
    weight = sizes * (right - left)
    return float((weight * (left + right) / 2).sum() / weight.sum()) if weight.sum() > 0 else float("nan")


def _called(counts: Counts, level: NDArray[np.intp], levels: int) -> NDArray[np.float64]:
    """Shares of pixels at or above each level, after a leading 0, [levels + 1]. level: each bin's level, [bins]."""
    sizes = np.bincount(level, np.asarray(counts, dtype=float), minlength=levels)
    total = sizes.sum()
    called = np.concatenate([[0.0], np.cumsum(sizes)])
    return called / total if total > 0 else np.full(levels + 1, np.nan)
