"""Sections of a report about the search: history, Pareto front, learning curves, importances, slices."""

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

CURVES: Final = 60  # most learning curves drawn
MANY: Final = 10  # trials from which on the axis leaves out the worst tenth
SHOWN: Final = {"COMPLETE": "circle", "PRUNED": "x-thin-open", "FAIL": "triangle-down", "RUNNING": "circle-open"}


def history_section(report: ReportData) -> Section:
    trials = report.frames.trials
    if trials.empty:
        return Section("history", "History", ["There are no trials yet."])
    drawn = {}
    for objective, direction in report.summary.directions.items():
        figure = figures.figure(x="trial", y=f"{objective} (validation)")
        figures.whole_on_x(figure, len(trials))
        last = report.frames.curves[report.frames.curves["metric"] == objective].groupby("number")["value"].last()
        for position, state in enumerate(("COMPLETE", "PRUNED", "FAIL", "RUNNING")):
            rows = trials[trials["state"] == state]
            values = rows[objective] if state == "COMPLETE" else rows["number"].map(last)
            measured = values.notna()
            if measured.any():
                colour = [figures.PALETTE[0], figures.GREY, figures.PALETTE[1], figures.PALETTE[2]][position]
                name = state.lower() if state == "COMPLETE" else f"{state.lower()} (last epoch)"
                figure.add_trace(
                    figures.points(
                        rows["number"][measured],
                        values[measured].astype(float),
                        name,
                        colour=colour,
                        symbol=SHOWN[state],
                    )
                )
        complete = trials[trials["state"] == "COMPLETE"]
        if not complete.empty:
            values = complete[objective].astype(float)
            best = values.cummin() if direction == "minimize" else values.cummax()
            numbers = [*complete["number"], trials["number"].max()]  # the line extends to the last trial
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
    counts = ", ".join(f"{count} {state}" for state, count in report.summary.states.items() if count)
    text = [f"{counts}."]
    if len(report.complete) > 2:
        clipped = "is clipped to the best 90 % of" if len(report.complete) >= MANY else "spans"
        text.append(f"The vertical axis {clipped} the completed trials; others may lie outside.")
    return Section("history", "History", text, drawn, data=trials)


def _near_the_best(values: pd.Series[float], *, minimize: bool) -> list[float]:
    """Axis range of the best 90 % of the values (all values if there are fewer than MANY), with a margin."""
    worst = 0.1 if len(values) >= MANY else 0.0
    low, high = (float(values.quantile(share)) for share in ((0.0, 1 - worst) if minimize else (worst, 1.0)))
    room = 0.15 * ((high - low) or abs(high) or 1.0)
    return [low - room, high + room]


def pareto_section(report: ReportData) -> Section | None:
    """The Pareto front; None for a study with one objective."""
    names = list(report.summary.directions)
    if len(names) < 2:
        return None
    complete, front = report.complete, report.summary.front
    if complete.empty:
        return Section("pareto", "Pareto front", ["No trial has trained to the end yet."])
    first, second = names[:2]
    numbers = {trial.number for trial in front}
    figure = figures.figure(x=first, y=second)
    others = complete[~complete["number"].isin(numbers)]
    inside = complete[complete["number"].isin(numbers)].sort_values(first)
    figure.add_trace(figures.points(others[first].astype(float), others[second].astype(float), "dominated"))
    line = figures.line(inside[first].astype(float), inside[second].astype(float), "front", 0)
    if len(names) > 2:  # a line between two points would ignore the other objectives
        line.update(mode="markers")
    else:  # steps: the best second objective for each limit on the first
        line.update(line={"shape": "hv" if report.summary.directions[first] == "minimize" else "vh"})
    figure.add_trace(
        line.update(text=[f"trial {trial}" for trial in inside["number"]], hovertemplate="%{text}<extra></extra>")
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


def importance_section(report: ReportData) -> Section:
    title = "What matters"
    compared = report.comparable()
    result = importances(
        [report.params[int(trial)] for trial in compared.values.index],
        [float(value) for value in compared.values],
        report.space,
        minimize=report.minimize,
    )
    if result.why is not None:
        return Section("importance", title, [f"No importances: {result.why}."])
    names = list(next(iter(result.shares.values())))
    figure = figures.figure(x="", y="share", height=300)
    for position, (method, shares) in enumerate(result.shares.items()):
        figure.add_trace(
            figures.bars([figures.plain(name) for name in names], [shares[name] for name in names], method, position)
        )
    figure.update_layout(barmode="group").update_yaxes(range=[0, 1])
    rows = [[name, *(f"{shares[name]:.2f}" for shares in result.shares.values())] for name in names]
    text = [
        f"Computed from {compared.words}. {_counted(result)} PED-ANOVA: parameters that distinguish the best tenth of "
        "the trials. fANOVA: parameters that explain the variance of all trials."
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
    """A sentence on the number of trials that each method uses."""
    counts = [f"{method} uses {count} of them" for method, count in result.used.items()]
    return f"{result.trials} trials lie inside the search space: {', '.join(counts)}."


def slices_section(report: ReportData) -> Section:
    complete, names = report.complete, [name for name in report.space if name in report.complete]
    if complete.empty or not names:
        return Section("slices", "Slices", ["No trial has trained to the end yet."])
    figure = figures.panels(names)
    for position, name in enumerate(names):
        panel = figures.cell(position, len(names))
        low_high_log = report.ranges.get(name)
        searched = complete[complete["baseline"].isna()]
        named = complete[complete["baseline"].notna()]
        if low_high_log is not None and low_high_log[2]:
            low, high, _ = low_high_log
            figure.update_xaxes(type="log", dtick=1, range=[math.log10(low) - 0.1, math.log10(high) + 0.1], **panel)
            named = named[pd.to_numeric(named[name], errors="coerce") > 0]
        shown = [
            (searched, "searched", figures.PALETTE[0], "circle", 6),
            (named, "baseline", figures.PALETTE[4], "diamond", 10),
        ]
        for rows, label, colour, symbol, size in shown:
            x = rows[name] if low_high_log is not None else rows[name].astype(str).map(figures.plain)
            texts = [
                figures.plain(str(name)) if name else f"trial {trial}"
                for name, trial in zip(rows["baseline"], rows["number"], strict=True)
            ]
            trace = figures.points(
                x,
                rows[report.objective].astype(float),
                label,
                colour=colour,
                symbol=symbol,
                size=size,
                showlegend=position == 0,
                legendgroup=label,
                text=texts,
                hovertemplate="%{text}: %{x}, %{y:.4f}<extra></extra>",
            )
            figure.add_trace(trace, **panel)
    if len(complete) > 2:
        near = _near_the_best(complete[report.objective].astype(float), minimize=report.minimize)
        figure.update_yaxes(range=near)
    figure.update_yaxes(title_text=figures.plain(report.objective), col=1)
    columns = ["number", "baseline", *names, report.objective]
    text = [
        "Each point is a trial that trained to the end"
        + ("; the axis is clipped to the best 90 % of them" if len(complete) >= MANY else "")
        + ". Baselines with a value of 0 are not drawn on a logarithmic axis."
    ]
    return Section("slices", "Slices", text, {"slices": figure}, data=complete[columns])


def curves_section(report: ReportData) -> Section:
    curves = report.frames.curves
    curves = curves[curves["metric"] == report.objective]
    if curves.empty:
        return Section("curves", "Learning curves", ["No epoch has been trained yet."])
    trials = report.frames.trials.set_index("number")
    numbers = list(dict.fromkeys(int(trial) for trial in curves["number"]))
    close = list(report.shown.values())
    others = [trial for trial in numbers if trial not in close]
    left_out = max(0, len(others) - CURVES)
    if left_out:  # spread evenly over the study
        others = [others[i] for i in np.linspace(0, len(others) - 1, CURVES).round().astype(int)]
    figure = figures.figure(x="epoch", y=f"{report.objective} (validation)", height=400)
    by_number = dict(list(curves.groupby("number")))
    told: set[str] = set()
    for trial in others:
        state = str(trials.loc[trial, "state"])
        rows = by_number[trial]
        colour = {"COMPLETE": figures.PALETTE[5], "FAIL": figures.PALETTE[1]}.get(state, figures.GREY)
        trace = figures.line(rows["epoch"], rows["value"].astype(float), state.lower(), 0)
        trace.update(
            line={"color": colour, "width": 1, "dash": "solid" if state == "COMPLETE" else "dot"},
            marker={"size": [0] * (len(rows) - 1) + [6], "color": colour, "symbol": SHOWN.get(state, "circle")},
            legendgroup=state,
            showlegend=state not in told,
            hovertemplate=f"trial {trial}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
            opacity=0.7,
        )
        told.add(state)
        figure.add_trace(trace)
    for position, (label, trial) in enumerate(report.shown.items()):
        if trial in by_number:
            rows = by_number[trial]
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
