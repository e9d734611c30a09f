"""Evidence of a study for the claims about the scale-invariant loss."""

from __future__ import annotations

from typing import Final

from weightsearch.dashboards.report.data import ReportData
from weightsearch.systems.evidence import complete, said, shown_value, used_terms

FOCUS: Final = 0.85  # silog's default


def is_about(report: ReportData) -> bool:
    """Return True if the study's loss has the silog term."""
    return "silog" in report.terms


def evidence(report: ReportData) -> str:
    """Values by variance focus, of trials whose only term is silog; empty if all have the same focus."""
    if not is_about(report):
        return ""
    trials: dict[str, tuple[float, int]] = {}
    for label, trial in complete(report).items():
        if used_terms(report.weights(trial)) == {"silog"}:
            options = report.configuration(trial)["loss"]["silog"]
            trials[label] = float(options.get("variance_focus", FOCUS)), trial
    if len({focus for focus, _ in trials.values()}) < 2:
        return ""
    ordered = sorted(trials.items(), key=lambda item: item[1][0])
    values = [
        f"{label} (focus {focus:g}) {shown_value(report, trial, report.objective)}" for label, (focus, trial) in ordered
    ]
    return said(report, "; ".join(values))
