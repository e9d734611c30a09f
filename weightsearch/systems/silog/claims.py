"""Claims about the scale-invariant logarithmic loss, and a published proof of its invariance, line by line.

With d the predicted, y the true depth, r = ln d - ln y and b = ln s:
L(s d, y) = mean (r + b)² - focus * mean(r + b)² = L(d, y) + (1 - focus) (b² + 2 b mean r).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from weightsearch.systems.claim import HOLDS, WRONG, Claim, Rows, at

Array = NDArray[np.float64]

SOURCE: Final = "scale-invariant"
row: Final = Rows(SOURCE)
BY_TRAINING: Final = "best_variance_focus"
EIGEN: Final = "Eigen et al. 2014, eq. 4 and the text below it"
PROOF: Final = "proof of the loss's invariance, guillesanbri.github.io, June 2022"
CASES: Final = 200
SAME: Final = 1e-9


def loss(ratios: Array, focus: float) -> float:
    """L for ratios r = ln d - ln y over the pixels."""
    return float((ratios**2).mean() - focus * ratios.mean() ** 2)


# Right-hand sides of the proof at focus 1, from its second display on, as functions of r and b = ln s.
LINES: Final[Mapping[str, Callable[[Array, float], float]]] = MappingProxyType(
    {
        "the prediction is multiplied by s": lambda r, b: float(
            (np.log(np.exp(b) * np.exp(r)) ** 2).mean() - np.log(np.exp(b) * np.exp(r)).sum() ** 2 / len(r) ** 2
        ),
        "ln s is taken out of the logarithm": lambda r, b: float(
            ((b + r) ** 2).mean() - (b + r).sum() ** 2 / len(r) ** 2
        ),
        "ln s is named b": lambda r, b: float(((b + r) ** 2).mean() - (b + r).sum() ** 2 / len(r) ** 2),
        "the first square is multiplied out": lambda r, b: float(
            (b**2 + r**2 + 2 * b * r).mean() - (b * len(r) + r.sum()) ** 2 / len(r) ** 2
        ),
        "the second square is multiplied out": lambda r, b: float(
            (b**2 * len(r) + (r**2).sum() + (2 * b * r).sum()) / len(r)
            - (b**2 * len(r) ** 2 + r.sum() ** 2 + 2 * b * len(r) * r.sum()) / len(r) ** 2
        ),
        "the factors of 1 / n are multiplied out": lambda r, b: float(
            b**2
            + (r**2).sum() / len(r)
            + (2 * b * r).sum() / len(r)
            - (b**2 + r.sum() ** 2 / len(r) ** 2 + 2 * b * len(r) * r.sum() / len(r) ** 2)
        ),
        "the terms are reordered": lambda r, b: float(
            b**2
            - b**2
            + (2 * b * r).sum() / len(r)
            - 2 * b * r.sum() / len(r)
            + (r**2).sum() / len(r)
            - r.sum() ** 2 / len(r) ** 2
        ),
        "terms that cancel are removed": lambda r, _: float((r**2).sum() / len(r) - r.sum() ** 2 / len(r) ** 2),
        "the logarithms are written as in the definition": lambda r, _: loss(r, 1.0),
    }
)


def cases() -> list[tuple[Array, float]]:
    """Random cases: ratios of an image's pixels, and the logarithm of a factor."""
    random = np.random.default_rng(0)
    return [
        (random.normal(random.normal(0, 0.5), 0.3, int(random.integers(2, 50))), float(random.normal(0, 1)))
        for _ in range(CASES)
    ]


def largest_gap(line: Callable[[Array, float], float]) -> float:
    """Largest difference between a line of the proof and L(s d, y) at focus 1, over all cases."""
    return max(abs(line(ratios, shift) - loss(ratios + shift, 1.0)) for ratios, shift in cases())


def _within(gap: float) -> str:
    """The accuracy of an equality, in words."""
    return f"to {gap:.0e}" if gap else "exactly"


def _equal(name: str, claimed: str, gap: float, right: str, where: str, of: str = "") -> Claim:
    """A claim that two sides are equal. gap: the largest difference. of: the cases, in words."""
    return row(name, claimed, gap < SAME, right, f"both sides in numbers{of}", {"largest_gap": gap}, where)


def _line(number: int, words: str) -> Claim:
    gap = largest_gap(LINES[words])
    right = f"equal to L(s d, y) in {CASES} random pictures {_within(gap)}"
    if number == 2:
        right += "; the left side is printed as L(d, y), which is to be proved: read L(s d, y) up to the last line"
    random = ", for random ratios of depth and random factors"
    return _equal(f"silog_proof_line_{number}", f"line {number}: {words}", gap, right, PROOF, random)


def _log_of_square() -> Claim:
    """Line 5: the printed ln(d / y)² has two readings, the square of the logarithm and the logarithm of the square."""

    def other(r: Array, b: float) -> float:
        return float((b**2 + 2 * r + 2 * b * r).mean() - (b * len(r) + r.sum()) ** 2 / len(r) ** 2)

    square, logarithm = largest_gap(LINES["the first square is multiplied out"]), largest_gap(other)
    return row(
        "silog_proof_square",
        "the binomial of line 5 has the term ln(d / y)²",
        HOLDS if square < SAME and logarithm < SAME else f"{HOLDS} if read as (ln(d / y))²" if square < SAME else WRONG,
        f"with (ln(d / y))² the line is equal {_within(square)}; with the other reading, ln((d / y)²), it is off by up "
        f"to {logarithm:.2g}",
        "the line with either reading, for random ratios of depth and random factors",
        {"square_of_the_logarithm": square, "logarithm_of_the_square": logarithm},
        PROOF,
    )


def _ignores_scale() -> Claim:
    ratios = cases()[0][0]
    ratios = ratios - ratios.mean()  # a prediction whose scale is right
    factor = 2.0
    change = {focus: loss(ratios + math.log(factor), focus) - loss(ratios, focus) for focus in (0.0, 0.5, 0.85, 1.0)}
    figures = ", ".join(f"{abs(change[focus]):.3f} at focus {focus:g}" for focus in change)  # none is below 0
    return row(
        "silog_ignores_scale",
        "the scale of the prediction does not change the loss",
        all(abs(value) < SAME for value in change.values()),
        f"only at variance focus 1; a factor of {factor:g} on a prediction whose scale is right adds {figures}: "
        "(1 - focus) (ln s)²",
        "L(s d, y) - L(d, y), which is (1 - focus) (b² + 2 b mean r) with b = ln s",
        at("at_{:g}", list(change), list(change.values())),
        f"{PROOF}, introduction",
    )


def _ends() -> Claim:
    gap = max(abs(loss(r, 0.0) - float((r**2).mean())) for r, _ in cases())
    claimed = "focus 0 is the elementwise L2 error (of the logarithm)"
    return _equal("silog_focus_0", claimed, gap, f"equal to mean r² {_within(gap)}", EIGEN)


def _average() -> Claim:
    gap = max(abs(loss(r, 0.5) - (loss(r, 0.0) + loss(r, 1.0)) / 2) for r, _ in cases())
    claimed = "focus .5 is the average of the L2 and the scale-invariant error"
    return _equal("silog_focus_half", claimed, gap, f"the loss is linear in the focus: equal {_within(gap)}", EIGEN)


def _pairs() -> Claim:
    def pairs(r: Array) -> float:
        return float(((r[:, None] - r[None]) ** 2).mean() / 2)

    gap = max(abs(loss(r, 1.0) - pairs(r)) for r, _ in cases())
    slope = max(abs(float((2 * (r - r.mean()) / len(r)).sum())) for r, _ in cases())
    return row(
        "silog_pairs",
        "at focus 1 the loss compares the ratios of all pairs of pixels",
        gap < SAME and slope < SAME,
        f"half of the mean of (r_i - r_j)² over all pairs, {_within(gap)}; so its gradient by ln d sums to 0",
        "both sides in numbers",
        {"largest_gap": gap, "largest_sum_of_gradients": slope},
        "Eigen et al. 2014, eqs 1 to 3",
    )


def _batch() -> Claim:
    ratios = np.random.default_rng(0).normal(0, 0.2, 10_000)
    halves = np.concatenate([np.full(5000, math.log(2)), np.full(5000, -math.log(2))])
    alone = (loss(ratios[:5000] + math.log(2), 1.0) + loss(ratios[5000:] - math.log(2), 1.0)) / 2
    pooled = loss(ratios + halves, 1.0)
    return row(
        "silog_batch",
        "pooled over a batch the loss at focus 1 still ignores the scale of each picture",
        abs(pooled - alone) < 0.01 * alone,
        f"it ignores only a factor common to the batch: the loss of two pictures scaled by 2 and 1/2 is {pooled:.3f} "
        f"pooled and {alone:.3f} per picture",
        "ratios of deviation .2, half of them shifted by ln 2, half by -ln 2",
        {"pooled": pooled, "per_image": alone},
        "the practice of Lee et al. 2019 (BTS), which pools the pixels of a batch",
    )


def _focus() -> Claim:
    return row.by_training(
        BY_TRAINING,
        "focus .5 gives good absolute depth and slightly better pictures",
        "training decides which focus is best for a data set: see the evidence of a study with several focuses among "
        "its baselines",
        EIGEN,
    )


CLAIMS: Final[tuple[Callable[[], Claim], ...]] = (
    *(partial(_line, number, words) for number, words in enumerate(LINES, 2)),
    _log_of_square,
    _ignores_scale,
    _ends,
    _average,
    _pairs,
    _batch,
    _focus,
)
