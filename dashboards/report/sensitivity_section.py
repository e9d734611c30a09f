"""The section of a report that says how far the weights may be changed."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from weightsearch.analysis.sensitivity import Plateau, plateaus, seed_noise
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table
from weightsearch.errors import called, counted

NEAR: Final = 0.01  # of the best value: what still counts as equally good


def sensitivity_section(found: ReportData) -> Section:
    title = "How far the weights may be changed"
    complete = found.complete
    if len(complete) < 3:
        return Section("sensitivity", title, ["At least three trials must have trained to the end."])
    within, noise = near_best(found)
    rows = []
    for plateau in within:
        wide = next((one for one in noise or () if one.parameter == plateau.parameter), None)
        rows.append(
            [
                plateau.parameter,
                f"{plateau.low:.3g} to {plateau.high:.3g}",
                f"{100 * plateau.share:.0f} %",
                "–" if wide is None else f"{wide.low:.3g} to {wide.high:.3g}",
                "–" if wide is None else f"{100 * wide.share:.0f} %",
            ]
        )
    values = complete[found.objective].astype(float)
    best = values.min() if found.minimize else values.max()
    near = int(((values - best).abs() <= NEAR * abs(best)).sum())
    spread = noise_of(found)
    text = [
        f"{near} of {counted(len(complete), 'trial')} {'lies' if near == 1 else 'lie'} within 1 % of the best; below "
        "are the ranges of their searched values. The values of a trial belong together: a corner of these ranges may "
        "be worse."
    ]
    if near == 1:
        text = ["Only the best trial lies within 1 % of the best: one trial shows no range."]
        rows = [[name, "–", "–", *rest] for name, _, _, *rest in rows]
    if spread is None:
        compare = called(found.summary.call, "compare", "--seeds", 3)
        text.append(f"Seed noise is not known: {compare} measures it.")
    else:
        text.append(
            f"The standard deviation between seeds is {spread:.3g} ({found.objective}); the ranges on the right are "
            "those of the trials within two standard deviations of the best."
        )
    columns = ["", "within 1 %", "of the searched range", "within seed noise", "of the searched range"]
    data = pd.DataFrame(rows, columns=["parameter", *columns[1:3], columns[3], "of the searched range (noise)"])
    return Section("sensitivity", title, text, tables=[Table(columns, rows)], data=data)


def noise_of(found: ReportData) -> float | None:
    rows = found.frames.confirmations
    if rows.empty:
        return None
    rows = rows[(rows["metric"] == found.objective) & (rows["split"] == "validation")]
    return seed_noise([list(group["value"].astype(float)) for _, group in rows.groupby("number")])


def near_best(found: ReportData) -> tuple[list[Plateau], list[Plateau] | None]:
    """Within 1 % of the best, and within two standard deviations between seeds where they are known."""
    complete = found.complete
    if complete.empty or found.best is None:
        return [], None
    best = abs(found.best.values[found.objective])
    options: dict[str, Any] = {"minimize": found.minimize}
    within = plateaus(complete, found.objective, found.ranges, margin=NEAR * best, **options)
    spread = noise_of(found)
    if spread is None:
        return within, None
    return within, plateaus(complete, found.objective, found.ranges, margin=2 * spread, **options)


SECTIONS: Final = {70: sensitivity_section}
