"""How strongly each loss term pulls: its gradient's norm against the mean of all (GradNorm, Chen et al. 2018)."""

from __future__ import annotations

import pandas as pd


def gradient_ratios(norms: pd.DataFrame) -> pd.DataFrame:
    """norms: epoch, term, norm (of the weighted term's gradient), of one trial at one place. Returns
    r_k = G_k / mean_j G_j, a row an epoch, a column a term; terms without a gradient count neither here nor there (NaN)
    and the others' mean is 1."""
    wide = norms.pivot(index="epoch", columns="term", values="norm").astype(float)
    wide = wide[list(dict.fromkeys(norms["term"]))]
    wide = wide.where(wide > 0)
    return wide.div(wide.mean(axis=1), axis=0)
