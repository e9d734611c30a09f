"""The evidence of a study for the claims about this system."""

from __future__ import annotations

from weightsearch.dashboards.report.data import ReportData
from weightsearch.systems.evidence import complete, shown_value


def is_about(found: ReportData) -> bool:
    """True if a study is one of this system."""
    return found.config.base.rebalance is not None


def evidence(found: ReportData) -> str:
    """The study's values with and without rebalancing; empty without both."""
    if not is_about(found):
        return ""
    methods = {
        label: str(found.configuration(trial)["rebalance"]["method"]) for label, trial in complete(found).items()
    }
    if "none" not in methods.values() or set(methods.values()) == {"none"}:
        return ""
    values = [
        f"{label} ({method}) "
        + ", ".join(f"{name} {shown_value(found, found.shown[label], name)}" for name in found.summary.directions)
        for label, method in methods.items()
    ]
    return f"the study {found.name!r} on the validation split: {'; '.join(values)}."
