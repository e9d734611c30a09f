"""Convergence of a curve: the epoch at which it stops falling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

WITHIN: Final = 0.05  # of the whole fall
SMALL: Final = 0.02  # relative change below which a curve is flat


@dataclass(frozen=True)
class Convergence:
    """first, last: the curve's ends. epoch: the first epoch (counted from 1) from which the curve stays near its lowest
    value, within 5 % of its fall to that value; None if there is no such epoch before the last. fall: from the first to
    the last value, as a share of `first`; negative for a rise. trend: in words, for a curve without such an epoch."""

    first: float
    last: float
    epoch: int | None
    fall: float
    trend: str


def convergence(curve: Sequence[float], within: float = WITHIN) -> Convergence | None:
    """The convergence of a curve with a value an epoch; None for fewer than three values and for values that are not
    finite. A curve that comes near its lowest value only in the last epoch is still falling. within: the distance that
    counts as near, as a share of the fall from the first value to the lowest."""
    values = np.asarray(curve, dtype=float)
    if len(values) < 3 or not np.isfinite(values).all():
        return None
    first, last, lowest = float(values[0]), float(values[-1]), float(values.min())
    fall, depth = ((first - value) / abs(first) if first else 0.0 for value in (last, lowest))
    outside = np.flatnonzero(values > lowest + within * (first - lowest))
    epoch = int(outside[-1]) + 2 if depth > 0 else len(values) + 1
    if depth <= SMALL and fall >= -SMALL:
        trend = "flat"
    elif epoch <= len(values):
        trend = "still falling"
    else:
        trend = "rises" if fall < 0 else f"rises after epoch {int(values.argmin()) + 1}"
    return Convergence(first, last, epoch if epoch < len(values) else None, fall, trend)
