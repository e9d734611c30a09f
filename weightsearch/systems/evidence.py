"""Evidence for claims from a study's trials: their values, in words."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import number


def complete(report: ReportData) -> dict[str, int]:
    """Label -> trial number, of the best trial and the baselines if they trained to the end."""
    states = {trial.number: trial.state for trial in report.summary.trials}
    return {label: trial for label, trial in report.shown.items() if states[trial] == "COMPLETE"}


def new_seed_values(report: ReportData, trial: int, objective: str) -> dict[int, float]:
    """Seed -> objective on the validation split, of a trial that was trained again with new seeds."""
    rows = report.frames.of("confirmations", trial)
    rows = rows[(rows["split"] == "validation") & (rows["metric"] == objective)].dropna(subset="value")
    return {int(seed): float(value) for seed, value in zip(rows["seed"], rows["value"], strict=True)}


def shown_value(report: ReportData, trial: int, objective: str) -> str:
    """Format a trial's value of an objective: the mean over two or more new seeds, else the value of the search."""
    retrained = list(new_seed_values(report, trial, objective).values())
    if len(retrained) > 1:
        return (
            f"{number(statistics.fmean(retrained))} ± {number(statistics.stdev(retrained), 2)} ({len(retrained)} seeds)"
        )
    values = next(summary.values for summary in report.summary.trials if summary.number == trial)
    return number(values[objective])


def said(report: ReportData, text: str) -> str:
    return f"the study {report.name!r}, {report.objective} on the validation split: {text}."


def used_terms(weights: Mapping[str, float]) -> set[str]:
    return {term for term, weight in weights.items() if weight > 0}
