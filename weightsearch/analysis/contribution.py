"""The contribution of each loss term: its share of the weighted sum."""

from __future__ import annotations

import pandas as pd


def contributions(terms: pd.DataFrame) -> pd.DataFrame:
    """Each term's share |w L| / sum |w L|: a row an epoch, a column a term in the order of the rows; a row adds up to
    1. The share of a term with weight 0 is 0, even if its value is not finite. terms: columns epoch, term, value
    (unweighted), weight, of one trial."""
    sizes = (terms["weight"] * terms["value"].astype(float)).abs().where(terms["weight"] > 0, 0.0)
    wide = terms.assign(size=sizes).pivot(index="epoch", columns="term", values="size")
    wide = wide[list(dict.fromkeys(terms["term"]))]
    return wide.div(wide.sum(axis=1).where(lambda total: total > 0), axis=0)


def values(terms: pd.DataFrame) -> pd.DataFrame:
    """The unweighted terms, a row an epoch, a column a term."""
    wide = terms.pivot(index="epoch", columns="term", values="value")
    return wide[list(dict.fromkeys(terms["term"]))].astype(float)
