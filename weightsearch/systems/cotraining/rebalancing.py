"""Arithmetic of rebalancing depth against flow: how a shift between their photometric errors evolves.

Delta is the error by depth minus the error by flow. The examined statements are from the supplementary of CoopNet
(WACV 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

from weightsearch.systems.cotraining.detection import edges

# The closed form of truncated moments is accurate if width * max(1, distance from mean) >= WIDE and distance <= FAR,
# both in sigma.
WIDE: Final = 3.0
FAR: Final = 30.0
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)


def signed_sum(steps: int, share: float) -> tuple[float, float]:
    """Mean and standard deviation of the sum of ±1/i over i = 1 to steps. share: probability of each sign being -."""
    drift = 1 - 2 * share
    sizes = 1 / np.arange(1, steps + 1)
    return drift * float(sizes.sum()), math.sqrt((1 - drift**2) * float((sizes**2).sum()))


def closed_loop(start: float, sigma: float, rate: float, power: float, steps: int) -> float:
    """Shift after `steps` steps of mu <- mu + rate * i ** -power * (2 Phi(mu / sigma) - 1)."""
    return float(closed_loop_path(start, sigma, rate, power, steps, 1)[1][-1])


def closed_loop_path(
    start: float, sigma: float, rate: float, power: float, steps: int, points: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps and the closed loop's shift after each. The steps are unique, from 1 to `steps`, about `points` of them,
    evenly spaced on a logarithmic axis."""
    seen = np.unique(np.geomspace(steps, 1, points).round().astype(np.int64))
    shifts = np.empty(len(seen))
    shift, scale, position = start, sigma * math.sqrt(2), 0
    for i in range(1, steps + 1):
        shift += rate * i**-power * math.erf(shift / scale)
        if i == seen[position]:
            shifts[position] = shift
            position += 1
    return seen, shifts


def mean_within(mu: float, sigma: float, reach: float, points: int = 20_001) -> float:
    """E[Delta | |Delta - mu| <= reach] for Delta ~ N(mu, sigma²), by quadrature."""
    x = np.linspace(mu - reach, mu + reach, points)
    weight = np.exp(-((x - mu) ** 2) / (2 * sigma**2))
    return float((x * weight).sum() / weight.sum())


def mass(sigma: float, points: int = 20_001) -> float:
    """Integral of exp(-x² / (2 sigma²)) / (sqrt(2 pi) sigma), by quadrature over ±10 sigma."""
    x = np.linspace(-10 * sigma, 10 * sigma, points)
    step = x[1] - x[0]
    return float(np.exp(-(x**2) / (2 * sigma**2)).sum() * step / (math.sqrt(2 * math.pi) * sigma))


def mills(x: float) -> float:
    """Mills' ratio Phi(-x) / phi(x), for any x, also if Phi(-x) and phi(x) underflow."""
    return math.sqrt(math.pi / 2) * float(erfcx(x / math.sqrt(2)))


def truncated_moments(mu: float, sigma: float, low: float, high: float) -> tuple[float, float]:
    """Mean and variance of N(mu, sigma²) truncated to low ... high; both may be infinite.

    With alpha = (low - mu) / sigma, beta = (high - mu) / sigma, z = Phi(beta) - Phi(alpha) and
    h = (phi(alpha) - phi(beta)) / z, the mean is mu + sigma h and the variance
    sigma² (1 + (alpha phi(alpha) - beta phi(beta)) / z - h²). Here all is divided by phi(alpha), so that Mills' ratio
    replaces Phi. Where terms cancel (narrow or far intervals), Gauss-Legendre quadrature is used. Relative errors are
    below 1e-9.
    """
    if not low < high:
        raise ValueError(f"low {low:g} must lie below high {high:g}")
    alpha, beta = (low - mu) / sigma, (high - mu) / sigma
    sign = 1.0
    if alpha + beta < 0:
        alpha, beta, sign = -beta, -alpha, -1.0  # mirrored so that the left end has the higher density
    if math.isinf(alpha):
        return mu, sigma**2
    width = beta - alpha
    if alpha > FAR or width * max(1.0, alpha) < WIDE:
        shift, variance = _integrated(alpha, width)
    else:
        drop = width * (alpha + beta) / 2
        fall = math.exp(-drop)  # phi(beta) / phi(alpha)
        z = mills(alpha) - fall * mills(beta)
        shift = -math.expm1(-drop) / z
        variance = 1 + (alpha - (beta * fall if fall else 0.0)) / z - shift**2
    return mu + sign * sigma * shift, sigma**2 * variance


def _integrated(alpha: float, width: float) -> tuple[float, float]:
    """Mean and variance of a standard normal variable between alpha and alpha + width, by quadrature over the part
    whose density is above e^-45 of the density at alpha."""
    reach = min(width, 90 / (math.sqrt(alpha**2 + 90) + alpha)) if alpha > 0 else width
    x = reach * (NODES + 1) / 2
    weight = WEIGHTS * np.exp(-x * (alpha + x / 2))
    weight /= weight.sum()
    mean = float((weight * x).sum())
    return alpha + mean, float((weight * (x - mean) ** 2).sum())


def normal_shares(mean: float, deviation: float, edges: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of N(mean, deviation²) between consecutive edges."""
    return np.diff(ndtr((np.asarray(edges, dtype=float) - mean) / deviation))


def off_normal(counts: Sequence[int] | NDArray[np.float64], mean: float, deviation: float) -> float:
    """Total variation distance of a histogram over [-1, 1] from N(mean, deviation²), including the mass of the normal
    distribution outside [-1, 1]. NaN for an empty histogram."""
    sizes = np.asarray(counts, dtype=float)
    if not sizes.sum() > 0:
        return math.nan
    normal = normal_shares(mean, deviation, edges(len(sizes)))
    outside = 1.0 - float(normal.sum())
    return (float(np.abs(sizes / sizes.sum() - normal).sum()) + outside) / 2


def needed_margin(shifts: Sequence[float]) -> list[float]:
    """phi(m) / Phi(-m) for each m = mu / sigma: the number of sigma by which E[flow's error | Delta < 0] must exceed
    the mean in the neighbourhood of mu for the neighbourhood to be better."""
    return [1 / mills(shift) for shift in shifts]


@dataclass(frozen=True)
class Margin:
    """Both sides of an inequality: the mean error by depth is lower in the neighbourhood of mu than where Delta < 0 if
    and only if E[flow's error | Delta < 0] - E[flow's error | neighbourhood] > sigma phi(m) / Phi(-m), m = mu / sigma.

    Depth's error is flow's error plus Delta. If Delta is normal, its mean is mu in the neighbourhood and
    mu - sigma phi(m) / Phi(-m) below 0. found: left side. needed: right side. Unknown sides are NaN.
    """

    found: float
    needed: float

    @property
    def better(self) -> bool | None:
        """True if the neighbourhood is predicted to have the lower depth error; None if a side is NaN."""
        return None if math.isnan(self.found + self.needed) else self.found > self.needed


def margin(mean: float, deviation: float, below: float, near: float) -> Margin:
    """Compute a Margin. mean, deviation: Delta's. below, near: mean error by flow where Delta < 0, and in the
    neighbourhood."""
    needed = deviation * needed_margin([mean / deviation])[0] if deviation > 0 else math.nan
    return Margin(float(below - near), float(needed))
