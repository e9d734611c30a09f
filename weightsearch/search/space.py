"""Ranges of a study file -> Optuna's distributions, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from weightsearch.config.ranges import Choices, FloatRange, IntRange, Range, as_written, label
from weightsearch.errors import SearchError


def distribution(found: Range) -> BaseDistribution:
    if isinstance(found, Choices):
        return CategoricalDistribution(found.labels())
    if isinstance(found, IntRange):
        return IntDistribution(found.low, found.high, log=found.log, step=found.step)
    return FloatDistribution(found.low, found.high, log=found.log, step=found.step)


def distributions(space: Mapping[str, Range]) -> dict[str, BaseDistribution]:
    return {name: distribution(found) for name, found in space.items()}


def inside(space: Mapping[str, Range], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are parameters of the space and lie in it, as the database stores them. A baseline's others are
    left out, so that no sampler takes the logarithm of 0."""
    return {
        name: label(as_written(space[name], value))
        for name, value in values.items()
        if name in space and _contains(space[name], value)
    }


def as_stored(space: Mapping[str, Range], stored: Mapping[str, Range]) -> dict[str, Range]:
    """The space with its choices as the study's stored space writes them: `[32, 48]` if the file now says `[32.0, 48]`.
    The database identifies a list by its text."""
    return {
        name: stored[name] if isinstance(found, Choices) and isinstance(stored.get(name), Choices) else found
        for name, found in space.items()
    }


def grid_points(name: str, found: Range, points: int | None) -> list[Any]:
    """The values of one parameter on a grid: its choices or steps, or `points` values from low to high (evenly on a log
    scale where the range is one), to twelve digits: .6 is .6, not .5999999999999999. Raises SearchError where a range
    needs a number of points."""
    if isinstance(found, Choices):
        return list(found.labels())
    if isinstance(found, IntRange) and (not found.log or points is None):
        return list(range(found.low, found.high + 1, found.step))
    if isinstance(found, FloatRange) and found.step is not None:
        count = int((found.high - found.low) / found.step + 1e-9) + 1
        return [found.low + index * found.step for index in range(count)]
    if points is None:
        raise SearchError(f"{name} is a continuous range; a grid needs points or choices")
    low, high = (math.log(found.low), math.log(found.high)) if found.log else (found.low, found.high)
    values = [low + (high - low) * index / (points - 1) for index in range(points)]
    values = [float(f"{math.exp(value) if found.log else value:.12g}") for value in values]
    values[0], values[-1] = found.low, found.high  # not a rounding away from the ends
    if isinstance(found, IntRange):
        return sorted({round(value) for value in values})
    return values


def _contains(found: Range, value: Any) -> bool:
    if isinstance(found, Choices):
        return found.index(value) is not None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not found.low <= value <= found.high:
        return False  # Optuna raises for the logarithm of 0 rather than saying no
    space = distribution(found)
    return bool(space._contains(space.to_internal_repr(value)))
