"""Section of a report on the sensitivity to the weights: ranges of the trials near the best."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from weightsearch.analysis.sensitivity import Plateau, plateaus, seed_noise
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table
from weightsearch.errors import called, counted

NEAR: Final = 0.01  # relative to the best value: differences up to this count as equally good


def sensitivity_section(report: ReportData) -> Section:
    title = "How far the weights may be changed"
    complete = report.complete
    if len(complete) < 3:
        return Section("sensitivity", title, ["At least three trials must have trained to the end."])
    within, noise = near_best(report)
    rows = []
    for plateau in within:
        wide = next((other for other in noise or () if other.parameter == plateau.parameter), None)
        rows.append(
            [
                plateau.parameter,
                f"{plateau.low:.3g} to {plateau.high:.3g}",
                f"{100 * plateau.share:.0f} %",
                "–" if wide is None else f"{wide.low:.3g} to {wide.high:.3g}",
                "–" if wide is None else f"{100 * wide.share:.0f} %",
            ]
        )
    values = complete[report.objective].astype(float)
    best = values.min() if report.minimize else values.max()
    near = int(((values - best).abs() <= NEAR * abs(best)).sum())
    spread = noise_of(report)
    text = [
        f"{near} of {counted(len(complete), 'trial')} {'lies' if near == 1 else 'lie'} within 1 % of the best; below "
        "are the ranges of their searched values. The values of a trial belong together: a corner of these ranges may "
        "be worse."
    ]
    if near == 1:
        text = ["Only the best trial lies within 1 % of the best; one trial shows no range."]
        rows = [[name, "–", "–", *rest] for name, _, _, *rest in rows]
    if spread is None:
        compare = called(report.summary.call, "compare", "--seeds", 3)
        text.append(f"The noise between seeds is unknown; to measure it, run: {compare}")
    else:
        text.append(
            f"The standard deviation between seeds is {spread:.3g} ({report.objective}, pooled over the retrained "
            "trials). The columns on the right are the ranges of the trials within two of them of the best; trials "
            "with a weight of 0 are left out."
        )
    columns = [
        "",
        "range within 1 % of the best",
        "share of the searched range",
        "range within the noise between seeds",
        "share of the searched range",
    ]
    data = pd.DataFrame(rows, columns=["parameter", *columns[1:3], columns[3], "of the searched range (noise)"])
    return Section("sensitivity", title, text, tables=[Table(columns, rows)], data=data)


def noise_of(report: ReportData) -> float | None:
    rows = report.frames.confirmations
    if rows.empty:
        return None
    rows = rows[(rows["metric"] == report.objective) & (rows["split"] == "validation")]
    return seed_noise([list(group["value"].astype(float)) for _, group in rows.groupby("number")])


def near_best(report: ReportData) -> tuple[list[Plateau], list[Plateau] | None]:
    """Ranges of the trials within 1 % of the best, and within two standard deviations between seeds (None if not
    measured)."""
    complete = report.complete
    if complete.empty or report.best is None:
        return [], None
    best = abs(report.best.values[report.objective])
    options: dict[str, Any] = {"minimize": report.minimize}
    within = plateaus(complete, report.objective, report.ranges, margin=NEAR * best, **options)
    spread = noise_of(report)
    if spread is None:
        return within, None
    return within, plateaus(complete, report.objective, report.ranges, margin=2 * spread, **options)


SECTIONS: Final = {70: sensitivity_section}
