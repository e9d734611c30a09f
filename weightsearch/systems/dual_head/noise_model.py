"""Simulation behind the dual head's published weights: random errors of its heads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from weightsearch.analysis.normal import below, density


@dataclass(frozen=True)
class Losses:
    """Means of the three terms over pixels: integer and fractional in units of the heads' outputs, consistency in
    metres. gradients: mean absolute gradient of the weighted loss per pixel at each head, times the number of pixels.
    """

    integer: float
    fractional: float
    consistency: float
    gradients: tuple[float, float]


def simulate(
    pixels: int, *, sigma: float, max_depth: float, min_depth: float, weights: tuple[float, float, float], seed: int
) -> Losses:
    """Simulate uniformly distributed depth. Head outputs are targets plus N(0, sigma), clipped to [0, 1]; linear
    decoding."""
    random = np.random.default_rng(seed)
    depth = random.uniform(min_depth, max_depth, pixels)
    whole = np.floor(depth)
    targets = whole / max_depth, depth - whole
    integer, fractional = (np.clip(target + random.normal(0, sigma, pixels), 0, 1) for target in targets)
    errors = integer - targets[0], fractional - targets[1]
    metres = max_depth * integer + fractional - depth
    sent = weights[2] * np.sign(metres)
    reached = weights[0] * np.sign(errors[0]) + max_depth * sent, weights[1] * np.sign(errors[1]) + sent
    return Losses(
        integer=float(np.abs(errors[0]).mean()),
        fractional=float(np.abs(errors[1]).mean()),
        consistency=float(np.abs(metres).mean()),
        gradients=(float(np.abs(reached[0]).mean()), float(np.abs(reached[1]).mean())),
    )


def expected_error(target: float, sigma: float) -> float:
    """E|clip(t + e, 0, 1) - t| for e ~ N(0, sigma)."""
    return _capped(1 - target, sigma) + _capped(target, sigma)


def unclipped_error(sigma: float) -> float:
    """E|e| for e ~ N(0, sigma)."""
    return sigma * math.sqrt(2 / math.pi)


def _capped(limit: float, sigma: float) -> float:
    """E[min(max(e, 0), limit)]."""
    reach = limit / sigma
    return sigma * (density(0) - density(reach)) + limit * below(-reach)
