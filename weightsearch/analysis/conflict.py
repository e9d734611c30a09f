"""Conflicts between loss terms: cosines between their gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def conflict_matrix(conflicts: pd.DataFrame, terms: Sequence[str]) -> pd.DataFrame:
    """Mean cosines between the terms' gradients, [K, K]: 1 on the diagonal of terms that have a gradient, NaN for pairs
    that were not measured. conflicts: columns term, other, cosine, of one trial at one place of measurement, any number
    of epochs."""
    matrix = pd.DataFrame(np.nan, index=list(terms), columns=list(terms), dtype=float)
    means = conflicts.groupby(["term", "other"])["cosine"].mean().reset_index()
    for term, other, cosine in zip(means["term"], means["other"], means["cosine"], strict=True):
        if term in matrix.index and other in matrix.index:
            matrix.loc[term, other] = matrix.loc[other, term] = cosine
            matrix.loc[term, term] = matrix.loc[other, other] = 1.0
    return matrix


def strongest_conflict(matrix: pd.DataFrame) -> tuple[str, str, float] | None:
    """The two terms whose gradients oppose each other most, with their cosine; None if none do."""
    pairs = [
        (str(term), str(other), float(matrix.loc[term, other]))
        for position, term in enumerate(matrix.index)
        for other in matrix.columns[position + 1 :]
    ]
    opposed = [pair for pair in pairs if pair[2] < 0]
    return min(opposed, key=lambda pair: pair[2], default=None)
