"""The section of a report that compares published claims with computed figures and with the study's own trials."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Final

import pandas as pd

from weightsearch.analysis import claims_cotraining, claims_dual_head, claims_silog, claims_transfer
from weightsearch.analysis.against_baselines import Outcome, Pair, compare_all
from weightsearch.analysis.claim import Claim
from weightsearch.analysis.claims import all_claims
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table, number

HEADS: Final = ("integer", "fractional")
TRANSFER: Final = ("mae", "edge", "ssim")
PUBLISHED: Final = 10.0  # of the fractional weight to the integer one's
WORDS: Final[Mapping[Outcome, str]] = {
    "better": "better",
    "worse": "worse",
    "as good": "equal within 1 %",
    "undecided": "not significantly different",
    "one seed": "trained with one common seed",
}
FOCUS: Final = 0.85  # silog's, where a study file gives none


def claims_section(found: ReportData) -> Section | None:
    """Published claims about this kind of loss, with recomputed figures and the study's own evidence."""
    terms = set(found.terms)
    about = {
        claims_dual_head.SOURCE: set(HEADS) <= terms,
        claims_silog.SOURCE: "silog" in terms,
        claims_transfer.SOURCE: set(TRANSFER) <= terms,
        claims_cotraining.SOURCE: found.config.base.rebalance is not None,
    }
    claims = [claim for claim in all_claims(evidence(found), found.summary.call) if about[claim.source]]
    return section_of_claims(claims) if claims else None


def section_of_claims(claims: list[Claim]) -> Section:
    """Published claims as a section."""
    plain = [{key: value for key, value in claim.to_plain().items() if key != "numbers"} for claim in claims]
    text = ["Every figure is computed again; a verdict follows from the figures. In brackets: where the claim is made."]
    return Section("claims", "Published claims", text, tables=[claims_table(claims)], data=pd.DataFrame(plain))


def claims_table(claims: list[Claim]) -> Table:
    rows = [[claim.source, claim.with_place, claim.verdict, claim.with_evidence, claim.how] for claim in claims]
    return Table(["source", "claim", "verdict", "correct", "computation"], rows)


def evidence(found: ReportData) -> dict[str, str]:
    """The study's evidence for claims that training decides, by the claim's name. Claims without matching trials are
    left out."""
    makers: dict[str, Callable[[ReportData], str]] = {
        claims_dual_head.BY_TRAINING: _of_dual_head,
        claims_transfer.BY_TRAINING: _of_transfer,
        claims_silog.BY_TRAINING: _of_silog,
        claims_cotraining.BY_TRAINING: _of_rebalancing,
    }
    said = {name: make(found) for name, make in makers.items()}
    return {name: text for name, text in said.items() if text}


def _complete(found: ReportData) -> dict[str, int]:
    """Label -> number of the best trial and the baselines, as far as they trained to the end."""
    states = {trial.number: trial.state for trial in found.summary.trials}
    return {label: trial for label, trial in found.shown.items() if states[trial] == "COMPLETE"}


def _seeds(found: ReportData, trial: int, objective: str) -> dict[int, float]:
    """Seed -> the objective on the validation split, of a trial that was trained again with fresh seeds."""
    rows = found.frames.of("confirmations", trial)
    rows = rows[(rows["split"] == "validation") & (rows["metric"] == objective)].dropna(subset="value")
    return {int(seed): float(value) for seed, value in zip(rows["seed"], rows["value"], strict=True)}


def _value(found: ReportData, trial: int, objective: str) -> str:
    """A trial's value of an objective: over fresh seeds, if there are two or more, else that of the search."""
    fresh = list(_seeds(found, trial, objective).values())
    if len(fresh) > 1:
        return f"{number(statistics.fmean(fresh))} ± {number(statistics.stdev(fresh), 2)} ({len(fresh)} seeds)"
    values = next(one.values for one in found.summary.trials if one.number == trial)
    return number(values[objective])


def _said(found: ReportData, text: str) -> str:
    return f"the study {found.name!r}, {found.objective} on the validation split: {text}."


def _of_dual_head(found: ReportData) -> str:
    """The study's values of fixed weights 1 : 10 and of the others; empty without 1 : 10."""
    if not set(HEADS) <= set(found.terms):
        return ""
    values: list[str] = []
    published = False
    for label, trial in _complete(found).items():
        weights = found.weights(trial)
        if not set(found.terms) <= set(weights):
            continue
        ratio = " : ".join(f"{weights[term]:.3g}" for term in found.terms)
        near = abs(weights["fractional"] - PUBLISHED * weights["integer"]) < 1e-9 * weights["fractional"]
        published = published or near
        values.append(f"{label} ({ratio}) {_value(found, trial, found.objective)}")
    return _said(found, "; ".join(values)) if published and len(values) > 1 else ""


def _of_transfer(found: ReportData) -> str:
    """The study's comparison of the weighted loss with each term alone; empty without both."""
    if set(found.terms) != set(TRANSFER):
        return ""
    used = {label: _used(found.weights(trial)) for label, trial in _complete(found).items()}
    weighted = next((label for label in ("published", *used) if used.get(label) == set(TRANSFER)), None)
    single = [label for label, terms in used.items() if len(terms) == 1]
    if weighted is None or not single:
        return ""
    sections = [f"{weighted} {_value(found, found.shown[weighted], found.objective)}"]
    verdicts = _against(found, found.shown[weighted], {label: found.shown[label] for label in single})
    for label, verdict in verdicts.items():
        (term,) = used[label]
        sections.append(f"{term} alone {_value(found, found.shown[label], found.objective)} ({weighted} is {verdict})")
    best = sum(verdict.startswith("better") for verdict in verdicts.values())
    return _said(found, f"{'; '.join(sections)}; better than {best} of {len(single)} single terms")


def _used(weights: Mapping[str, float]) -> set[str]:
    return {term for term, weight in weights.items() if weight > 0}


def _against(found: ReportData, one: int, others: Mapping[str, int]) -> dict[str, str]:
    """Compare a trial with others, by label: over two or more common fresh seeds, corrected for all comparisons
    together, or by the search's one seed."""
    mine = _seeds(found, one, found.objective)
    seeds = {label: _seeds(found, other, found.objective) for label, other in others.items()}
    compared = compare_all({label: Pair(mine, theirs, found.minimize) for label, theirs in seeds.items()})
    values = {trial.number: trial.values[found.objective] for trial in found.summary.trials if trial.values}
    said = {}
    for label, other in others.items():
        better = values[one] < values[other] if found.minimize else values[one] > values[other]
        said[label] = f"{'better' if better else 'no better'} by one seed"
        if label in compared and compared[label].p is not None:
            said[label] = WORDS[compared[label].verdict]
    return said


def _of_silog(found: ReportData) -> str:
    """The study's values by variance focus, of trials with silog alone; empty if all have the same focus."""
    if "silog" not in found.terms:
        return ""
    known: dict[str, tuple[float, int]] = {}
    for label, trial in _complete(found).items():
        if _used(found.weights(trial)) == {"silog"}:
            options = found.configuration(trial)["loss"]["silog"]
            known[label] = float(options.get("variance_focus", FOCUS)), trial
    if len({focus for focus, _ in known.values()}) < 2:
        return ""
    ordered = sorted(known.items(), key=lambda item: item[1][0])
    values = [f"{label} (focus {focus:g}) {_value(found, trial, found.objective)}" for label, (focus, trial) in ordered]
    return _said(found, "; ".join(values))


def _of_rebalancing(found: ReportData) -> str:
    """The study's values with and without rebalancing; empty without both."""
    if found.config.base.rebalance is None:
        return ""
    methods = {
        label: str(found.configuration(trial)["rebalance"]["method"]) for label, trial in _complete(found).items()
    }
    if "none" not in methods.values() or set(methods.values()) == {"none"}:
        return ""
    values = [
        f"{label} ({method}) "
        + ", ".join(f"{name} {_value(found, found.shown[label], name)}" for name in found.summary.directions)
        for label, method in methods.items()
    ]
    return f"the study {found.name!r} on the validation split: {'; '.join(values)}."


SECTIONS: Final = {180: claims_section}
