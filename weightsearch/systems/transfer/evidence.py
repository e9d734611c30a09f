"""The evidence of a study for the claims about this system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from weightsearch.analysis.against_baselines import Outcome, Pair, compare_all
from weightsearch.dashboards.report.data import ReportData
from weightsearch.systems.evidence import complete, fresh_values, said, shown_value, used_terms

TRANSFER: Final = ("mae", "edge", "ssim")
WORDS: Final[Mapping[Outcome, str]] = {
    "better": "better",
    "worse": "worse",
    "as good": "equal within 1 %",
    "undecided": "not significantly different",
    "one seed": "trained with one common seed",
}


def is_about(found: ReportData) -> bool:
    """True if a study is one of this system."""
    return set(TRANSFER) <= set(found.terms)


def evidence(found: ReportData) -> str:
    """The study's comparison of the weighted loss with each term alone; empty without both."""
    if set(found.terms) != set(TRANSFER):
        return ""
    used = {label: used_terms(found.weights(trial)) for label, trial in complete(found).items()}
    weighted = next((label for label in ("published", *used) if used.get(label) == set(TRANSFER)), None)
    single = [label for label, terms in used.items() if len(terms) == 1]
    if weighted is None or not single:
        return ""
    sections = [f"{weighted} {shown_value(found, found.shown[weighted], found.objective)}"]
    verdicts = _against(found, found.shown[weighted], {label: found.shown[label] for label in single})
    for label, verdict in verdicts.items():
        (term,) = used[label]
        sections.append(
            f"{term} alone {shown_value(found, found.shown[label], found.objective)} ({weighted} is {verdict})"
        )
    best = sum(verdict.startswith("better") for verdict in verdicts.values())
    return said(found, f"{'; '.join(sections)}; better than {best} of {len(single)} single terms")


def _against(found: ReportData, one: int, others: Mapping[str, int]) -> dict[str, str]:
    """Compare a trial with others, by label: over two or more common fresh seeds, corrected for all comparisons
    together, or by the search's one seed."""
    mine = fresh_values(found, one, found.objective)
    seeds = {label: fresh_values(found, other, found.objective) for label, other in others.items()}
    compared = compare_all({label: Pair(mine, theirs, found.minimize) for label, theirs in seeds.items()})
    values = {trial.number: trial.values[found.objective] for trial in found.summary.trials if trial.values}
    said = {}
    for label, other in others.items():
        better = values[one] < values[other] if found.minimize else values[one] > values[other]
        said[label] = f"{'better' if better else 'no better'} by one seed"
        if label in compared and compared[label].p is not None:
            said[label] = WORDS[compared[label].verdict]
    return said
