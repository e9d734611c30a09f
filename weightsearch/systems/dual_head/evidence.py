"""Evidence of a study for the claims about the dual-head loss."""

from __future__ import annotations

from typing import Final

from weightsearch.dashboards.report.data import ReportData
from weightsearch.systems.evidence import complete, said, shown_value

HEADS: Final = ("integer", "fractional")
PUBLISHED: Final = 10.0  # ratio of the fractional to the integer weight


def is_about(report: ReportData) -> bool:
    """Return True if the study's loss has the two heads' terms."""
    return set(HEADS) <= set(report.terms)


def evidence(report: ReportData) -> str:
    """Values of trials with weights 1 : 10 and of others; empty without a trial of 1 : 10."""
    if not is_about(report):
        return ""
    values: list[str] = []
    published = False
    for label, trial in complete(report).items():
        weights = report.weights(trial)
        if not set(report.terms) <= set(weights):
            continue
        ratio = " : ".join(f"{weights[term]:.3g}" for term in report.terms)
        near = abs(weights["fractional"] - PUBLISHED * weights["integer"]) < 1e-9 * weights["fractional"]
        published = published or near
        values.append(f"{label} ({ratio}) {shown_value(report, trial, report.objective)}")
    return said(report, "; ".join(values)) if published and len(values) > 1 else ""
