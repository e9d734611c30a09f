"""The arithmetic of rebalancing depth against flow: what becomes of a shift between their photometric errors.

Delta is the difference between the error by depth and the one by flow. Source of the statements that are weighed:
the supplementary of CoopNet (WACV 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def density(x: float) -> float:
    """Of the standard normal distribution."""
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def below(x: float) -> float:
    """The standard normal distribution's share below x."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def signed_sum(steps: int, share: float) -> tuple[float, float]:
    """Mean and standard deviation of the sum of ±1/i over i = 1 to steps, each sign independently - with this share."""
    drift = 1 - 2 * share
    sizes = 1 / np.arange(1, steps + 1)
    return drift * float(sizes.sum()), math.sqrt((1 - drift**2) * float((sizes**2).sum()))


def closed_loop(start: float, sigma: float, rate: float, power: float, steps: int) -> float:
    """The shift after so many steps of mu <- mu + rate * i ** -power * (2 Phi(mu / sigma) - 1)."""
    shift = start
    scale = sigma * math.sqrt(2)
    for i in range(1, steps + 1):
        shift += rate * i**-power * math.erf(shift / scale)
    return shift


def mean_within(mu: float, sigma: float, reach: float, points: int = 20_001) -> float:
    """E[Delta | |Delta - mu| <= reach] for Delta ~ N(mu, sigma²), by quadrature."""
    x = np.linspace(mu - reach, mu + reach, points)
    weight = np.exp(-((x - mu) ** 2) / (2 * sigma**2))
    return float((x * weight).sum() / weight.sum())


def mass(sigma: float, points: int = 20_001) -> float:
    """The integral of exp(-x² / (2 sigma²)) / (sqrt(2 pi) sigma), by quadrature over ±10 sigma."""
    x = np.linspace(-10 * sigma, 10 * sigma, points)
    step = x[1] - x[0]
    return float(np.exp(-(x**2) / (2 * sigma**2)).sum() * step / (math.sqrt(2 * math.pi) * sigma))


def needed_margin(shifts: Sequence[float]) -> list[float]:
    """phi(m) / Phi(-m) for m = mu / sigma: by how many sigma E[flow's error | Delta < 0] must lie above its mean in the
    neighbourhood of mu for the neighbourhood to be the better choice."""
    return [density(shift) / below(-shift) for shift in shifts]
