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
    value, within 5 % of its total fall; None if it is still falling or does not fall at all. fall: the total fall, as a
    share of `first`."""

    first: float
    last: float
    epoch: int | None
    fall: float

    @property
    def trend(self) -> str:
        """The trend of a curve that has not levelled off."""
        if self.last > self.first * (1 + SMALL):
            return "rises"
        return "still falling" if self.fall > SMALL else "flat"


def convergence(curve: Sequence[float], within: float = WITHIN) -> Convergence | None:
    """The convergence of a curve with a value an epoch; None for fewer than three values and for values that are not
    finite. A curve that comes near its lowest value only in the last epoch is still falling. within: the distance that
    counts as near, as a share of the total fall."""
    values = np.asarray(curve, dtype=float)
    if len(values) < 3 or not np.isfinite(values).all():
        return None
    first, last, lowest = float(values[0]), float(values[-1]), float(values.min())
    fall = first - lowest
    share = fall / abs(first) if first else 0.0
    if fall <= 0:
        return Convergence(first, last, None, share)
    outside = np.flatnonzero(values > lowest + within * fall)
    epoch = int(outside[-1]) + 2 if len(outside) else 1
    return Convergence(first, last, epoch if epoch < len(values) else None, share)
