"""Sections of a report about the loss: contributions, gradient ratios, conflicts, convergence, redundancy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pandas as pd

from weightsearch.analysis.conflict import conflict_matrix, strongest_conflict
from weightsearch.analysis.contribution import contributions, values
from weightsearch.analysis.convergence import convergence
from weightsearch.analysis.gradient_ratio import WORDS, gradient_ratios
from weightsearch.analysis.redundancy import redundancy
from weightsearch.dashboards.report import figures
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table, number
from weightsearch.records import HEADS, SHARED, pixel_warnings

NOTHING: Final = "No epoch of the best trial or of a baseline has been trained yet."
MEANS: Final = "Means over the epochs with a measurement; – is a term of weight 0, or a trial without a measurement."
OPPOSED: Final = 0.1  # a cosine below its negative is called a conflict
FEW: Final = 3  # fewer probes than this are called single batches
FEW_WARNINGS: Final = 6  # most warnings in the text; the rest is counted
LOOKED_AT: Final = 6  # most trials drawn side by side
PLACES: Final = (SHARED, HEADS)  # the most informative first


def _looked_at(report: ReportData) -> dict[str, int]:
    return dict(list(report.shown.items())[:LOOKED_AT])


def contributions_section(report: ReportData) -> Section:
    title = "Contributions"
    trials = _looked_at(report)
    if not trials:
        return Section("contributions", title, [NOTHING])
    figure = figures.panels(list(trials))
    rows, data = [], []
    for position, (label, trial) in enumerate(trials.items()):
        terms = report.frames.terms(trial)
        shares = contributions(terms)[report.terms]
        panel = figures.cell(position, len(trials))
        for which, term in enumerate(report.terms):
            bar = figures.bars(
                shares.index, shares[term].astype(float), term, which, legendgroup=term, showlegend=position == 0
            )
            figure.add_trace(bar.update(hovertemplate=f"{term}, epoch %{{x}}: %{{y:.1%}}<extra></extra>"), **panel)
        last = terms[terms["epoch"] == terms["epoch"].max()].set_index("term")
        for term in report.terms:
            row = last.loc[term]
            share = shares[term].iloc[-1]
            rows.append([label, term, number(row["weight"]), number(row["value"]), f"{100 * share:.1f} %"])
        data.append(shares.reset_index().assign(trial=label))
    figure.update_layout(barmode="stack")
    figure.update_yaxes(range=[0, 1], tickformat=".0%")
    figures.epochs_on_x(figure, _last_epoch(report))
    text = [
        "Each term's share of the weighted sum, |weight × term| over the sum of all terms; one bar per epoch. A share "
        "says how much a term adds to the loss; its influence is its gradient, below."
    ]
    text += _without_pixels(report)
    table = Table(
        ["", "term", "weight", "term (unweighted)", "contribution"],
        rows,
        "In the last epoch. Each unweighted term has its own unit.",
    )
    return Section("contributions", title, text, {"contributions": figure}, [table], data=pd.concat(data))


def _without_pixels(report: ReportData) -> list[str]:
    """Warnings of trials in which a term had no valid pixel at many steps."""
    steps = report.frames.epochs.groupby("number")["steps"].sum()
    counts = report.frames.rows("without_pixels", "term").groupby(["number", "term"], sort=False)["value"].sum()
    said = []
    for trial in dict.fromkeys(counts.index.get_level_values("number")):
        warnings = pixel_warnings(counts[trial].to_dict(), int(steps[trial]), report.weights(trial))
        said += [f"Trial {trial}: {warning}." for warning in warnings]
    more = f"The same holds for {len(said) - FEW_WARNINGS} more."
    return said if len(said) <= FEW_WARNINGS + 1 else [*said[:FEW_WARNINGS], more]


def gradients_section(report: ReportData) -> Section:
    title = "Gradient ratios"
    trials = _looked_at(report)
    if not trials:
        return Section("gradients", title, [NOTHING])
    measured = {
        where: {label: norm for label, trial in trials.items() if not (norm := _norms(report, trial, where)).empty}
        for where in PLACES
    }
    drawn = {where: figures.panels(list(norms)) for where, norms in measured.items() if norms}
    data: list[pd.DataFrame] = []
    cells: dict[tuple[str, str], dict[str, str]] = {(label, term): {} for label in trials for term in report.terms}
    told: set[tuple[str, str]] = set()  # terms that are in a legend already
    for where, norms in measured.items():
        for position, (label, table) in enumerate(norms.items()):
            ratios = gradient_ratios(table)
            data.append(ratios.reset_index().melt("epoch", value_name="ratio").assign(trial=label, place=where))
            for which, term in enumerate(report.terms):
                curve = ratios[term].dropna() if term in ratios else pd.Series(dtype=float)
                if curve.empty:
                    continue
                cells[label, term][where] = number(float(curve.mean()), 3)
                first = (where, term) not in told
                told.add((where, term))
                line = figures.line(curve.index, curve.astype(float), term, which, legendgroup=term, showlegend=first)
                line.update(hovertemplate=f"{term}, epoch %{{x}}: %{{y:.3g}}<extra></extra>")
                drawn[where].add_trace(line, **figures.cell(position, len(norms)))
    for figure in drawn.values():
        figures.ratios_on_y(figure)
        figures.epochs_on_x(figure, _last_epoch(report))
        figure.update_yaxes(title_text="norm / mean norm", col=1)
    columns = ["", "term", *(WORDS[where] for where in drawn)]
    rows = [[label, term, *(means.get(where, "–") for where in drawn)] for (label, term), means in cells.items()]
    tables = [Table(columns, rows, MEANS)] if drawn else []
    captions = {where: WORDS[where].capitalize() for where in drawn}
    table = pd.concat(data) if data else pd.DataFrame(columns=["epoch", "term", "ratio", "trial", "place"])
    return Section(
        "gradients", title, _about_gradients(report, list(drawn)), drawn, tables, captions=captions, data=table
    )


def _norms(report: ReportData, trial: int, where: str) -> pd.DataFrame:
    rows = report.frames.rows("gradient", "place", "term", number=trial)
    return rows[rows["place"] == where].drop(columns="place")


def _about_gradients(report: ReportData, drawn: Sequence[str]) -> list[str]:
    """Explanations of the ratios and of where they are measured."""
    text = [
        "The norm of each weighted term's gradient, divided by the mean norm of all terms: 1 is average influence. "
        "Gradients at the heads (with respect to the network's outputs) and at the shared parameters are different "
        "quantities; each has its own figure."
    ]
    if SHARED in drawn:
        text.append(
            "Shared parameters get a gradient from every term: the ratios there show which term has most influence on "
            "the network. Probes measure them as often as analysis.budget allows "
            f"({100 * _budget(report):g} % of the training time)."
        )
    else:
        text.append(f"Not measured at the shared parameters in the best trial and the baselines{_why(report)}.")
    if HEADS in drawn:
        text.append(
            "Heads are outputs that are not computed from other outputs: the gradient of a term on the combined depth "
            "is propagated to both heads."
        )
    elif report.config.base.data.neighbours:
        text.append(
            "Gradients at different heads are not compared: the heads of a network that predicts depth, motion and "
            "flow have several units (metres, radians, pixels)."
        )
    return text


def conflicts_section(report: ReportData) -> Section:
    title = "Conflicts"
    trials = _looked_at(report)
    if len(report.terms) < 2:
        return Section("conflicts", title, ["The loss has one term."])
    if not trials:
        return Section("conflicts", title, [NOTHING])
    drawn, text, data = {}, [], []
    for where in PLACES:
        matrices = {}
        for label, trial in trials.items():
            cosines = report.frames.rows("cosine", "place", "term", "other", number=trial)
            cosines = cosines.rename(columns={"value": "cosine"})[cosines["place"] == where]
            if not cosines.empty:
                matrices[label] = conflict_matrix(cosines, report.terms)
                data.append(
                    cosines.groupby(["term", "other"])["cosine"].mean().reset_index().assign(trial=label, place=where)
                )
        if not matrices:
            continue
        figure = figures.panels(list(matrices), shared_y=True, height=250)
        for position, (label, matrix) in enumerate(matrices.items()):
            figure.add_trace(figures.matrix(matrix, showscale=False), **figures.cell(position, len(matrices)))
            opposed = strongest_conflict(matrix)
            if where == "shared":
                probes = int(report.frames.probe_cost("probes", trials[label]))
                prefix = f"{label}, {probes} probe{'s' if probes != 1 else ''}"
                if opposed is None or opposed[2] > -OPPOSED:
                    text.append(f"{prefix}: no cosine below -{OPPOSED:g}.")
                else:
                    words = f"{opposed[0]} and {opposed[1]} oppose each other most, cosine {opposed[2]:.2f}"
                    text.append(f"{prefix}: {words}{', of single batches' if probes < FEW else ''}.")
        figure.update_yaxes(autorange="reversed")
        drawn[where] = figure
    if not drawn:
        return Section("conflicts", title, [f"Not measured{_why(report)}."])
    names = " and then ".join(WORDS[where] for where in drawn)
    intro = (
        f"Cosines between the terms' gradients, {names}: 1 is the same direction, -1 the opposite, 0 neither. "
        "Each probe is one batch."
    )
    if HEADS in drawn:
        intro += " At the heads, terms without a common head have cosine 0 by construction."
    captions = {where: words.capitalize() for where, words in WORDS.items()}
    return Section("conflicts", title, [intro, *text], drawn, captions=captions, data=pd.concat(data))


def convergence_section(report: ReportData) -> Section:
    title = "Convergence of each term"
    rows = []
    for label, trial in _looked_at(report).items():
        table = values(report.frames.terms(trial))
        weights = report.weights(trial)
        for term in report.terms:
            result = convergence(list(table[term]))
            if result is None or not weights.get(term):
                continue
            when = f"epoch {result.epoch}" if result.epoch else result.trend
            rows.append([label, term, number(result.first), number(result.last), f"{100 * result.fall:.0f} %", when])
    if not rows:
        return Section("convergence", title, ["Three epochs or more are needed."])
    text = [
        "Levelled off: the first epoch after which the term stays within 5 % of its total decrease above its minimum. "
        "Rises after epoch N: it has its minimum at epoch N and leaves that band later. Fall: from the first to the "
        "last epoch. Each unweighted term has its own unit; terms of weight 0 are left out."
    ]
    columns = ["", "term (unweighted)", "first epoch", "last epoch", "fall", "levelled off"]
    data = pd.DataFrame(rows, columns=["trial", *columns[1:]])
    return Section("convergence", title, text, tables=[Table(columns, rows)], data=data)


def redundancy_section(report: ReportData) -> Section:
    title = "Redundant weights"
    terms = report.terms
    if len(terms) < 2:
        return Section(
            "redundancy",
            title,
            [
                "The loss has one term: its weight has hardly any effect under Adam; under SGD it acts like the "
                "learning rate."
            ],
        )
    text = [
        f"{len(terms)} weights have {len(terms) - 1} degrees of freedom: only their ratios matter under Adam "
        "without weight decay and gradient clipping; under SGD a common factor acts like the learning rate."
    ]
    compared = report.comparable()
    searched = set(report.frames.trials[report.frames.trials["baseline"].isna()]["number"])
    rows = {int(trial): report.weights(int(trial)) for trial in compared.values.index if trial in searched}
    weights = pd.DataFrame.from_dict(rows, orient="index")
    result = None
    if not weights.empty and set(terms) <= set(weights.columns):
        result = redundancy(weights[terms], [float(compared.values[trial]) for trial in weights.index])
    fixed = list(report.fixed_weights)
    if fixed:
        noun, verb = ("weight", "is") if len(fixed) == 1 else ("weights", "are")
        text.append(f"The {noun} of {', '.join(fixed)} {verb} fixed, so the search does not vary the common factor.")
    else:
        text.append("Here no weight is fixed: fix one to search one dimension less.")
    if report.config.base.data.neighbours:
        text.append(
            "Subnetworks without shared parameters each have their own common factor: one weight among the terms that "
            "train only flow can be fixed, too."
        )
    if result is None:
        text.append("A fit of the objective to the ratios needs ten trials with all weights above 0.")
        return Section("redundancy", title, text)
    lines = [["all weights", f"{result.all_weights:.2f}"]]
    if result.ratio is not None:
        numerator, denominator, share = result.ratio
        lines.append([f"the ratio {numerator} / {denominator} alone", f"{share:.2f}"])
        if share > 0.5 and share > 0.9 * result.all_weights:
            when = "" if compared.epoch is None else f" at epoch {compared.epoch}"
            text.append(
                f"The objective{when} depends mainly on one ratio, {numerator} / {denominator}; other weights "
                "add little to it."
            )
    if result.common_factor is not None:
        lines.append(["the common factor, beyond the ratios", f"{result.common_factor:+.2f}"])
    columns = ["what explains the objective", "R² adjusted"]
    caption = (
        f"Quadratic fits in logarithms of weights, from {compared.words}; {result.trials} were searched and have all "
        "weights above 0."
    )
    table = Table(columns, lines, caption)
    return Section("redundancy", title, text, tables=[table], data=pd.DataFrame(lines, columns=columns))


def _last_epoch(report: ReportData) -> int:
    """Last epoch of the examined trials."""
    epochs = report.frames.epochs
    return int(epochs[epochs["number"].isin(report.shown.values())]["epoch"].max())


def _budget(report: ReportData) -> float:
    return report.config.base.analysis.budget


def _why(report: ReportData) -> str:
    """Reason for missing probes, as the end of a sentence."""
    problems = report.frames.epochs["problem"].dropna()
    if len(problems):
        return f": {problems.iloc[0]}"
    if not _budget(report):
        return ": analysis.budget is 0"
    if not any(sum(weight > 0 for weight in report.weights(trial).values()) > 1 for trial in report.shown.values()):
        return ": with one term of weight above 0 there is nothing to compare"
    return (
        f": a probe takes more than {100 * _budget(report):g} % of such a short training; to measure more often, "
        "increase analysis.budget"
    )


SECTIONS: Final = {
    80: contributions_section,
    90: gradients_section,
    100: conflicts_section,
    110: convergence_section,
    120: redundancy_section,
}
