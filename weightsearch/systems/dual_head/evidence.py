"""The evidence of a study for the claims about this system."""

from __future__ import annotations

from typing import Final

from weightsearch.dashboards.report.data import ReportData
from weightsearch.systems.evidence import complete, said, shown_value

HEADS: Final = ("integer", "fractional")
PUBLISHED: Final = 10.0  # of the fractional weight to the integer one's


def is_about(found: ReportData) -> bool:
    """True if a study is one of this system."""
    return set(HEADS) <= set(found.terms)


def evidence(found: ReportData) -> str:
    """The study's values of fixed weights 1 : 10 and of the others; empty without 1 : 10."""
    if not is_about(found):
        return ""
    values: list[str] = []
    published = False
    for label, trial in complete(found).items():
        weights = found.weights(trial)
        if not set(found.terms) <= set(weights):
            continue
        ratio = " : ".join(f"{weights[term]:.3g}" for term in found.terms)
        near = abs(weights["fractional"] - PUBLISHED * weights["integer"]) < 1e-9 * weights["fractional"]
        published = published or near
        values.append(f"{label} ({ratio}) {shown_value(found, trial, found.objective)}")
    return said(found, "; ".join(values)) if published and len(values) > 1 else ""
