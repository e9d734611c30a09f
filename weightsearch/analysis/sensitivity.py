"""The sensitivity to each value: the plateau around the best trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Plateau:
    """The values of one parameter among trials that are nearly as good as the best.

    low, high: the smallest and largest of these values; share: the part of the searched range that they span, on the
    range's scale (linear or log). trials: the number of these trials, the best one included.
    """

    parameter: str
    low: float
    high: float
    share: float
    trials: int


def plateaus(
    trials: pd.DataFrame,
    objective: str,
    ranges: Mapping[str, tuple[float, float, bool]],
    *,
    minimize: bool,
    margin: float,
) -> list[Plateau]:
    """The plateau of each parameter around the best trial. trials: the COMPLETE trials, with a column for the objective
    and for each parameter. ranges: low, high, log, by parameter. margin: how much worse than the best a trial may be,
    in the objective's unit."""
    values = trials[objective].astype(float)
    best = values.min() if minimize else values.max()
    near = trials[(values - best).abs() <= margin]
    intervals: list[Plateau] = []
    for name, (low, high, log) in ranges.items():
        if name not in near:
            continue
        chosen = pd.to_numeric(near[name], errors="coerce")
        chosen = chosen[(chosen >= low) & (chosen <= high)]
        if chosen.empty:
            continue
        least, most = float(chosen.min()), float(chosen.max())
        whole = _extent(low, high, log)
        share = _extent(least, most, log) / whole if whole else 1.0
        intervals.append(Plateau(name, least, most, share, len(chosen)))
    return intervals


def seed_noise(groups: Sequence[Sequence[float]]) -> float | None:
    """The standard deviation between seeds, pooled over sets of weights that were each trained with several seeds; None
    without such a set."""
    usable = [values for values in groups if len(values) > 1]
    freedom = sum(len(values) - 1 for values in usable)
    if not freedom:
        return None
    total = sum(float(np.var(values, ddof=1)) * (len(values) - 1) for values in usable)
    return math.sqrt(total / freedom)


def _extent(low: float, high: float, log: bool) -> float:
    return math.log(high / low) if log else high - low
