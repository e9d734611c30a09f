"""The sections of a report that tell of the search: its trials, their curves, what mattered."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pandas as pd

from weightsearch.analysis.importance import Importances, importances
from weightsearch.dashboards.report import figures
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table, number
from weightsearch.errors import counted

CURVES: Final = 60  # learning curves that are drawn
MANY: Final = 10  # trials, of which the worst tenth need not be drawn
SHOWN: Final = {"COMPLETE": "circle", "PRUNED": "x-thin-open", "FAIL": "triangle-down", "RUNNING": "circle-open"}


def history_section(found: ReportData) -> Section:
    trials = found.frames.trials
    if trials.empty:
        return Section("history", "History", ["There are no trials yet."])
    drawn = {}
    for objective, direction in found.summary.directions.items():
        figure = figures.figure(x="trial", y=f"{objective} (validation)")
        figures.whole_on_x(figure, len(trials))
        last = found.frames.curves[found.frames.curves["metric"] == objective].groupby("number")["value"].last()
        for position, state in enumerate(("COMPLETE", "PRUNED", "FAIL", "RUNNING")):
            rows = trials[trials["state"] == state]
            values = rows[objective] if state == "COMPLETE" else rows["number"].map(last)
            kept = values.notna()
            if kept.any():
                colour = [figures.PALETTE[0], figures.GREY, figures.PALETTE[1], figures.PALETTE[2]][position]
                name = state.lower() if state == "COMPLETE" else f"{state.lower()} (last epoch)"
                figure.add_trace(
                    figures.points(
                        rows["number"][kept], values[kept].astype(float), name, colour=colour, symbol=SHOWN[state]
                    )
                )
        complete = trials[trials["state"] == "COMPLETE"]
        if not complete.empty:
            values = complete[objective].astype(float)
            best = values.cummin() if direction == "minimize" else values.cummax()
            numbers = [*complete["number"], trials["number"].max()]  # the best stays so up to the last trial
            step = figures.line(numbers, [*best, best.iloc[-1]], "best so far", 0)
            figure.add_trace(step.update(mode="lines", line={"shape": "hv", "width": 2, "color": figures.PALETTE[0]}))
            named = complete[complete["baseline"].notna()]
            if len(complete) > 2:
                figure.update_yaxes(range=_near_the_best(values, minimize=direction == "minimize"))
            figure.add_trace(
                figures.points(
                    named["number"],
                    named[objective].astype(float),
                    "baseline",
                    colour=figures.PALETTE[4],
                    symbol="diamond",
                    size=11,
                    text=[figures.plain(str(name)) for name in named["baseline"]],
                    hovertemplate="%{text}: %{y:.4f}<extra></extra>",
                )
            )
        drawn[objective] = figure
    counts = ", ".join(f"{count} {state}" for state, count in found.summary.states.items() if count)
    text = [f"{counts}."]
    if len(found.complete) > 2:
        clipped = "is clipped to the best 90 % of" if len(found.complete) >= MANY else "spans"
        text.append(f"The axis {clipped} the completed trials.")
    return Section("history", "History", text, drawn, data=trials)


def _near_the_best(values: pd.Series[float], *, minimize: bool) -> list[float]:
    """The range of the best nine tenths of the values, of all if they are few, with some room."""
    worst = 0.1 if len(values) >= MANY else 0.0
    low, high = (float(values.quantile(share)) for share in ((0.0, 1 - worst) if minimize else (worst, 1.0)))
    room = 0.15 * ((high - low) or abs(high) or 1.0)
    return [low - room, high + room]


def pareto_section(found: ReportData) -> Section:
    names = list(found.summary.directions)
    if len(names) < 2:
        return Section("pareto", "Pareto front", ["The study has one objective: its best trial is the front."])
    complete, front = found.complete, found.summary.front
    if complete.empty:
        return Section("pareto", "Pareto front", ["No trial has trained to the end yet."])
    first, second = names[:2]
    numbers = {trial.number for trial in front}
    figure = figures.figure(x=first, y=second)
    others = complete[~complete["number"].isin(numbers)]
    inside = complete[complete["number"].isin(numbers)].sort_values(first)
    figure.add_trace(figures.points(others[first].astype(float), others[second].astype(float), "dominated"))
    line = figures.line(inside[first].astype(float), inside[second].astype(float), "front", 0)
    if len(names) > 2:  # other objectives decide too: nothing lies between two of these trials
        line.update(mode="markers")
    else:  # what is reached with at most, or at least, a value of the first objective
        line.update(line={"shape": "hv" if found.summary.directions[first] == "minimize" else "vh"})
    figure.add_trace(
        line.update(text=[f"trial {one}" for one in inside["number"]], hovertemplate="%{text}<extra></extra>")
    )
    rows = [
        [
            f"trial {trial.number}" + (f" ({trial.baseline})" if trial.baseline else ""),
            *(number(trial.values[name]) for name in names),
        ]
        for trial in front
    ]
    count = counted(len(front), "trial is", "trials are")
    text = [f"{count} Pareto-optimal: no other trial is at least as good in every objective and better in one."]
    if len(names) > 2:
        text.append(f"Drawn: {first} and {second}, of {len(names)} objectives.")
    return Section("pareto", "Pareto front", text, {"front": figure}, [Table(["", *names], rows)], data=inside)


def importance_section(found: ReportData) -> Section:
    title = "What matters"
    compared = found.comparable()
    result = importances(
        [found.params[int(one)] for one in compared.values.index],
        [float(value) for value in compared.values],
        found.space,
        minimize=found.minimize,
    )
    if result.why is not None:
        return Section("importance", title, [f"No importances: {result.why}."])
    names = list(next(iter(result.shares.values())))
    figure = figures.figure(x="", y="share", height=300)
    for position, (method, shares) in enumerate(result.shares.items()):
        figure.add_trace(
            figures.bars([figures.plain(one) for one in names], [shares[one] for one in names], method, position)
        )
    figure.update_layout(barmode="group").update_yaxes(range=[0, 1])
    rows = [[name, *(f"{shares[name]:.2f}" for shares in result.shares.values())] for name in names]
    text = [
        f"From {compared.words}. {_counted(result)} PED-ANOVA: what distinguishes the best tenth of the trials. "
        "fANOVA: what explains the variance over all of them."
    ]
    doubtful = [name for name in names if name not in result.above_chance]
    if doubtful:
        verb = "has" if len(doubtful) == 1 else "have"
        text.append(
            f"{', '.join(doubtful)} {verb} no significant effect (permutation test at 5 %): shares always add up to "
            "1, even if no parameter matters."
        )
    data = pd.DataFrame(result.shares).rename_axis("parameter").reset_index()
    return Section("importance", title, text, {"importance": figure}, [Table(["", *result.shares], rows)], data=data)


def _counted(result: Importances) -> str:
    """The number of trials of each method."""
    counts = [f"{method} uses {count} of them" for method, count in result.used.items()]
    return f"{result.trials} trials lie inside the search space: {', '.join(counts)}."


def slices_section(found: ReportData) -> Section:
    complete, names = found.complete, [name for name in found.space if name in found.complete]
    if complete.empty or not names:
        return Section("slices", "Slices", ["No trial has trained to the end yet."])
    figure = figures.panels(names)
    for position, name in enumerate(names):
        place = figures.cell(position, len(names))
        low_high_log = found.ranges.get(name)
        searched = complete[complete["baseline"].isna()]
        named = complete[complete["baseline"].notna()]
        if low_high_log is not None and low_high_log[2]:
            low, high, _ = low_high_log
            figure.update_xaxes(type="log", dtick=1, range=[math.log10(low) - 0.1, math.log10(high) + 0.1], **place)
            named = named[pd.to_numeric(named[name], errors="coerce") > 0]
        shown = [
            (searched, "searched", figures.PALETTE[0], "circle", 6),
            (named, "baseline", figures.PALETTE[4], "diamond", 10),
        ]
        for rows, label, colour, symbol, size in shown:
            x = rows[name] if low_high_log is not None else rows[name].astype(str).map(figures.plain)
            texts = [
                figures.plain(str(name)) if name else f"trial {one}"
                for name, one in zip(rows["baseline"], rows["number"], strict=True)
            ]
            trace = figures.points(
                x,
                rows[found.objective].astype(float),
                label,
                colour=colour,
                symbol=symbol,
                size=size,
                showlegend=position == 0,
                legendgroup=label,
                text=texts,
                hovertemplate="%{text}: %{x}, %{y:.4f}<extra></extra>",
            )
            figure.add_trace(trace, **place)
    if len(complete) > 2:
        near = _near_the_best(complete[found.objective].astype(float), minimize=found.minimize)
        figure.update_yaxes(range=near)
    figure.update_yaxes(title_text=figures.plain(found.objective), col=1)
    columns = ["number", "baseline", *names, found.objective]
    text = [
        "Each point is a trial that trained to the end"
        + ("; the axis is clipped to the best 90 % of them" if len(complete) >= MANY else "")
        + ". Baselines at 0 have no place on a logarithmic axis."
    ]
    return Section("slices", "Slices", text, {"slices": figure}, data=complete[columns])


def curves_section(found: ReportData) -> Section:
    curves = found.frames.curves
    curves = curves[curves["metric"] == found.objective]
    if curves.empty:
        return Section("curves", "Learning curves", ["No epoch has been trained yet."])
    trials = found.frames.trials.set_index("number")
    numbers = list(dict.fromkeys(int(one) for one in curves["number"]))
    close = list(found.shown.values())
    others = [one for one in numbers if one not in close]
    left_out = max(0, len(others) - CURVES)
    if left_out:  # evenly over the study
        others = [others[i] for i in np.linspace(0, len(others) - 1, CURVES).round().astype(int)]
    figure = figures.figure(x="epoch", y=f"{found.objective} (validation)", height=400)
    by_number = dict(list(curves.groupby("number")))
    told: set[str] = set()
    for one in others:
        state = str(trials.loc[one, "state"])
        rows = by_number[one]
        colour = {"COMPLETE": figures.PALETTE[5], "FAIL": figures.PALETTE[1]}.get(state, figures.GREY)
        trace = figures.line(rows["epoch"], rows["value"].astype(float), state.lower(), 0)
        trace.update(
            line={"color": colour, "width": 1, "dash": "solid" if state == "COMPLETE" else "dot"},
            marker={"size": [0] * (len(rows) - 1) + [6], "color": colour, "symbol": SHOWN.get(state, "circle")},
            legendgroup=state,
            showlegend=state not in told,
            hovertemplate=f"trial {one}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
            opacity=0.7,
        )
        told.add(state)
        figure.add_trace(trace)
    for position, (label, one) in enumerate(found.shown.items()):
        if one in by_number:
            rows = by_number[one]
            figure.add_trace(
                figures.line(rows["epoch"], rows["value"].astype(float), label, position).update(line_width=3)
            )
    figures.epochs_on_x(figure, int(curves["epoch"].max()))
    text = ["Pruned trials end where they were stopped."]
    if left_out:
        text.append(f"{left_out} of {len(numbers)} curves are not drawn; those shown are spread evenly over the study.")
    return Section("curves", "Learning curves", text, {"curves": figure}, data=curves)


SECTIONS: Final = {
    20: history_section,
    30: pareto_section,
    40: curves_section,
    50: importance_section,
    60: slices_section,
}
