"""The evidence of a study for the claims about this system."""

from __future__ import annotations

from typing import Final

from weightsearch.dashboards.report.data import ReportData
from weightsearch.systems.evidence import complete, said, shown_value, used_terms

FOCUS: Final = 0.85  # silog's, where a study file gives none


def is_about(found: ReportData) -> bool:
    """True if a study is one of this system."""
    return "silog" in found.terms


def evidence(found: ReportData) -> str:
    """The study's values by variance focus, of trials with silog alone; empty if all have the same focus."""
    if not is_about(found):
        return ""
    known: dict[str, tuple[float, int]] = {}
    for label, trial in complete(found).items():
        if used_terms(found.weights(trial)) == {"silog"}:
            options = found.configuration(trial)["loss"]["silog"]
            known[label] = float(options.get("variance_focus", FOCUS)), trial
    if len({focus for focus, _ in known.values()}) < 2:
        return ""
    ordered = sorted(known.items(), key=lambda item: item[1][0])
    values = [
        f"{label} (focus {focus:g}) {shown_value(found, trial, found.objective)}" for label, (focus, trial) in ordered
    ]
    return said(found, "; ".join(values))
