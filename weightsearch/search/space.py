"""Conversion between a study file's ranges and Optuna's distributions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from weightsearch.config.ranges import Choices, FloatRange, IntRange, Range, as_written, label
from weightsearch.errors import SearchError


def distribution(allowed: Range) -> BaseDistribution:
    if isinstance(allowed, Choices):
        return CategoricalDistribution(allowed.labels())
    if isinstance(allowed, IntRange):
        return IntDistribution(allowed.low, allowed.high, log=allowed.log, step=allowed.step)
    return FloatDistribution(allowed.low, allowed.high, log=allowed.log, step=allowed.step)


def distributions(space: Mapping[str, Range]) -> dict[str, BaseDistribution]:
    return {name: distribution(allowed) for name, allowed in space.items()}


def inside(space: Mapping[str, Range], values: Mapping[str, Any]) -> dict[str, Any]:
    """Select the values that are parameters of the space and lie in it, as the database stores them. A baseline's other
    values are omitted, so that no sampler takes the logarithm of 0."""
    return {
        name: label(as_written(space[name], value))
        for name, value in values.items()
        if name in space and _contains(space[name], value)
    }


def as_stored(space: Mapping[str, Range], stored: Mapping[str, Range]) -> dict[str, Range]:
    """The space, with choices written as in the stored space: `[32, 48]` if the file now has `[32.0, 48]`. The database
    identifies a list by its text."""
    return {
        name: stored[name] if isinstance(allowed, Choices) and isinstance(stored.get(name), Choices) else allowed
        for name, allowed in space.items()
    }


def grid_points(name: str, allowed: Range, points: int | None) -> list[Any]:
    """Values of a parameter on a grid: its choices or steps, or `points` values from low to high, evenly spaced (on the
    log scale for log ranges) and rounded to twelve digits: .6, not .5999999999999999. Raises SearchError if the range
    needs `points`."""
    if isinstance(allowed, Choices):
        return list(allowed.labels())
    if isinstance(allowed, IntRange) and (not allowed.log or points is None):
        return list(range(allowed.low, allowed.high + 1, allowed.step))
    if isinstance(allowed, FloatRange) and allowed.step is not None:
        count = int((allowed.high - allowed.low) / allowed.step + 1e-9) + 1
        return [allowed.low + index * allowed.step for index in range(count)]
    if points is None:
        raise SearchError(f"{name} is a continuous range; a grid needs points or choices")
    low, high = (math.log(allowed.low), math.log(allowed.high)) if allowed.log else (allowed.low, allowed.high)
    values = [low + (high - low) * index / (points - 1) for index in range(points)]
    values = [float(f"{math.exp(value) if allowed.log else value:.12g}") for value in values]
    values[0], values[-1] = allowed.low, allowed.high  # exactly the ends of the range
    if isinstance(allowed, IntRange):
        return sorted({round(value) for value in values})
    return values


def _contains(allowed: Range, value: Any) -> bool:
    if isinstance(allowed, Choices):
        return allowed.index(value) is not None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not allowed.low <= value <= allowed.high:
        return False  # Optuna would raise for the logarithm of 0
    space = distribution(allowed)
    return bool(space._contains(space.to_internal_repr(value)))
