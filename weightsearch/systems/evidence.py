"""What a study's trials say of a claim: values of trials, in words."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import number


def complete(found: ReportData) -> dict[str, int]:
    """Label -> number of the best trial and the baselines, as far as they trained to the end."""
    states = {trial.number: trial.state for trial in found.summary.trials}
    return {label: trial for label, trial in found.shown.items() if states[trial] == "COMPLETE"}


def fresh_values(found: ReportData, trial: int, objective: str) -> dict[int, float]:
    """Seed -> the objective on the validation split, of a trial that was trained again with fresh seeds."""
    rows = found.frames.of("confirmations", trial)
    rows = rows[(rows["split"] == "validation") & (rows["metric"] == objective)].dropna(subset="value")
    return {int(seed): float(value) for seed, value in zip(rows["seed"], rows["value"], strict=True)}


def shown_value(found: ReportData, trial: int, objective: str) -> str:
    """A trial's value of an objective: over fresh seeds, if there are two or more, else that of the search."""
    fresh = list(fresh_values(found, trial, objective).values())
    if len(fresh) > 1:
        return f"{number(statistics.fmean(fresh))} ± {number(statistics.stdev(fresh), 2)} ({len(fresh)} seeds)"
    values = next(one.values for one in found.summary.trials if one.number == trial)
    return number(values[objective])


def said(found: ReportData, text: str) -> str:
    return f"the study {found.name!r}, {found.objective} on the validation split: {text}."


def used_terms(weights: Mapping[str, float]) -> set[str]:
    return {term for term, weight in weights.items() if weight > 0}
