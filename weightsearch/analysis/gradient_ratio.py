"""The gradient ratio of each loss term: its gradient's norm over the mean of all (GradNorm, Chen et al. 2018).

Ratios are comparable only between gradients with respect to the same variables: at the shared parameters, and at heads
of one unit; not at outputs that are computed from other outputs or that have several units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import pandas as pd

from weightsearch.records import HEADS, SHARED, EpochRecord, rows_at

WORDS: Final[Mapping[str, str]] = MappingProxyType({SHARED: "at the shared parameters", HEADS: "at the heads"})


@dataclass(frozen=True)
class Pull:
    """Gradient ratios of one epoch. place: where they were measured, SHARED or HEADS. ratios: by term, without the
    terms that have no gradient."""

    place: str
    epoch: int
    ratios: Mapping[str, float]

    @property
    def words(self) -> str:
        """The place of the measurement, in words."""
        return WORDS[self.place]


def ratios(norms: Mapping[str, float]) -> dict[str, float]:
    """r_k = G_k / mean_j G_j, G: the norm of each weighted term's gradient. Terms without a gradient are left out and
    do not count in the mean."""
    positive = {name: norm for name, norm in norms.items() if math.isfinite(norm) and norm > 0}
    mean = sum(positive.values()) / len(positive) if positive else math.nan
    return {name: norm / mean for name, norm in positive.items()}


def pull_of(norms: Mapping[str, tuple[int, Mapping[str, float]]]) -> Pull | None:
    """Gradient ratios at the shared parameters or, if these were not measured yet, at the heads; None without either.
    norms: place of measurement -> its last measured epoch, and each weighted term's gradient norm."""
    for place in WORDS:
        epoch, term_norms = norms.get(place, (0, {}))
        if shares := ratios(term_norms):
            return Pull(place, epoch, shares)
    return None


def later_pull(before: Pull | None, record: EpochRecord) -> Pull | None:
    """The gradient ratios to show after one more epoch: the last measurement at the shared parameters or, before the
    first of these, the epoch's measurement at the heads."""
    gradients = record.all_measurements.get("gradient", {})
    now = pull_of({place: (record.epoch, rows_at(gradients, place)) for place in WORDS})
    if before is not None and before.place == SHARED and before.epoch <= record.epoch:
        return now if now is not None and now.place == SHARED else before
    return now


def gradient_ratios(norms: pd.DataFrame) -> pd.DataFrame:
    """r_k = G_k / mean_j G_j: a row an epoch, a column a term. Terms without a gradient are NaN and do not count in the
    mean, so the others' mean is 1. norms: columns epoch, term, value (norm of the weighted term's gradient), of one
    trial at one place of measurement."""
    wide = norms.pivot(index="epoch", columns="term", values="value").astype(float)
    wide = wide[list(dict.fromkeys(norms["term"]))]
    rows = [ratios({str(term): float(norm) for term, norm in row.items()}) for _, row in wide.iterrows()]
    return pd.DataFrame(rows, index=wide.index, columns=wide.columns)
