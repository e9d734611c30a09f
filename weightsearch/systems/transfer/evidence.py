"""Evidence of a study for the claims about the MAE/edge/SSIM loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from weightsearch.analysis.against_baselines import Outcome, Pair, compare_all
from weightsearch.dashboards.report.data import ReportData
from weightsearch.systems.evidence import complete, new_seed_values, said, shown_value, used_terms

TRANSFER: Final = ("mae", "edge", "ssim")
WORDS: Final[Mapping[Outcome, str]] = {
    "better": "better",
    "worse": "worse",
    "as good": "equal within 1 %",
    "undecided": "not significantly different",
    "one seed": "trained with one common seed",
}


def is_about(report: ReportData) -> bool:
    """Return True if the study's loss has all three terms."""
    return set(TRANSFER) <= set(report.terms)


def evidence(report: ReportData) -> str:
    """Comparison of the weighted loss with each term alone; empty unless the study has both."""
    if set(report.terms) != set(TRANSFER):
        return ""
    used = {label: used_terms(report.weights(trial)) for label, trial in complete(report).items()}
    weighted = next((label for label in ("published", *used) if used.get(label) == set(TRANSFER)), None)
    single = [label for label, terms in used.items() if len(terms) == 1]
    if weighted is None or not single:
        return ""
    sections = [f"{weighted} {shown_value(report, report.shown[weighted], report.objective)}"]
    verdicts = _against(report, report.shown[weighted], {label: report.shown[label] for label in single})
    for label, verdict in verdicts.items():
        (term,) = used[label]
        sections.append(
            f"{term} alone {shown_value(report, report.shown[label], report.objective)} ({weighted} is {verdict})"
        )
    best = sum(verdict.startswith("better") for verdict in verdicts.values())
    return said(report, f"{'; '.join(sections)}; better than {best} of {len(single)} single terms")


def _against(report: ReportData, trial: int, others: Mapping[str, int]) -> dict[str, str]:
    """Label -> verdict on a trial compared with another trial: over two or more common new seeds, corrected for all
    comparisons together, else by the single seed of the search."""
    mine = new_seed_values(report, trial, report.objective)
    seeds = {label: new_seed_values(report, other, report.objective) for label, other in others.items()}
    compared = compare_all({label: Pair(mine, theirs, report.minimize) for label, theirs in seeds.items()})
    values = {trial.number: trial.values[report.objective] for trial in report.summary.trials if trial.values}
    said = {}
    for label, other in others.items():
        better = values[trial] < values[other] if report.minimize else values[trial] > values[other]
        said[label] = f"{'better' if better else 'no better'} by one seed"
        if label in compared and compared[label].p is not None:
            said[label] = WORDS[compared[label].verdict]
    return said
