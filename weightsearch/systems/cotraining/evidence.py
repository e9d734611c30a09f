"""Evidence of a study for the claims about gradient rebalancing."""

from __future__ import annotations

from weightsearch.dashboards.report.data import ReportData
from weightsearch.systems.evidence import complete, shown_value


def is_about(report: ReportData) -> bool:
    """Return True if the study rebalances."""
    return report.config.base.rebalance is not None


def evidence(report: ReportData) -> str:
    """Values of trials with and without rebalancing; empty unless the study has both."""
    if not is_about(report):
        return ""
    methods = {
        label: str(report.configuration(trial)["rebalance"]["method"]) for label, trial in complete(report).items()
    }
    if "none" not in methods.values() or set(methods.values()) == {"none"}:
        return ""
    values = [
        f"{label} ({method}) "
        + ", ".join(f"{name} {shown_value(report, report.shown[label], name)}" for name in report.summary.directions)
        for label, method in methods.items()
    ]
    return f"the study {report.name!r} on the validation split: {'; '.join(values)}."
