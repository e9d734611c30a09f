"""The standard normal distribution."""

from __future__ import annotations

import math

from scipy.special import ndtr


def density(x: float) -> float:
    """The density of the standard normal distribution."""
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def below(x: float) -> float:
    """The standard normal distribution's share below x."""
    return float(ndtr(x))
