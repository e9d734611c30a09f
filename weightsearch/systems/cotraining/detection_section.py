"""Section of a report on motion detection by Delta, for datasets with ground truth of moving pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from weightsearch.dashboards.report import figures
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table, number
from weightsearch.systems.cotraining import detection
from weightsearch.systems.cotraining.rebalancing_section import MARKED, NOTHING, Trial, curves, last_epoch, looked_at

SCORES: Final[Mapping[detection.Score, str]] = {"signed": "Delta - mode", "absolute": "|Delta - mode|"}
AREAS: Final = {"signed_auc": "AUC", "absolute_auc": "AUC by distance"}
ETAS: Final = {
    "signed_eta": "best eta",
    "absolute_eta": "best by distance",
    "spread": "static spread",
    "eta": "eta set",
}
LAST: Final = "last epoch"

Measured = Mapping[str, pd.DataFrame]  # trial label -> see _measured


def detection_section(report: ReportData) -> Section | None:
    title = "Motion detection by Delta (ROC)"
    trials = looked_at(report)
    if trials is None:
        return None
    if not trials:
        return Section("detection", title, [NOTHING])
    if not all(trial.has_moving_truth for trial in trials):
        return Section("detection", title, ["The data set has no ground truth of moving pixels."])
    measured = {trial.label: _measured(trial) for trial in trials}
    text = [
        "A pixel is detected as moving if Delta - mode > eta or, by distance, if |Delta - mode| > eta. AUC, the area "
        "under the curve, is the probability that this score is larger at a moving pixel than at a static one: 0.5 is "
        "chance.",
        _detected(trials[0], measured[trials[0].label]),
    ]
    drawn = {
        "roc": _roc(trials),
        "auc": _areas(trials, measured),
        "eta": curves(
            trials, lambda trial: {words: measured[trial.label][name] for name, words in ETAS.items()}, "eta"
        ),
    }
    captions = {
        "roc": "ROC over eta: true-positive rate (moving pixels) against false-positive rate (static pixels)",
        "auc": "AUC over training",
        "eta": "The best eta, and the eta that was set",
    }
    rows = []
    for label, epochs in measured.items():
        last = epochs.iloc[-1]
        rows.append([label, *(number(float(last[name]), 3) for name in (*AREAS, *ETAS))])
    caption = (
        "In the last epoch. Best eta: the largest true-positive rate minus false-positive rate (Youden's J). "
        "Static spread: half of the span from the 16th to the 84th percentile of Delta at static pixels."
    )
    table = Table(["", *AREAS.values(), *ETAS.values()], rows, caption)
    data = pd.concat([epochs.assign(trial=label) for label, epochs in measured.items()], ignore_index=True)
    return Section("detection", title, text, drawn, [table], captions=captions, data=data)


def _measured(trial: Trial) -> pd.DataFrame:
    """One row per epoch: epoch, AUC and best eta of each score, spread of the static pixels, eta of the trial."""
    rows = []
    for _, row in trial.rows.iterrows():
        values: dict[str, Any] = {"epoch": int(row["epoch"])}
        for score in SCORES:
            curve = _curve(row, score)
            values |= {f"{score}_auc": detection.area(curve.fpr, curve.tpr), f"{score}_eta": detection.best_eta(curve)}
        rows.append(values | {"spread": detection.spread(row["static"]), "eta": trial.options.eta})
    return pd.DataFrame(rows)


def _curve(row: Any, score: detection.Score) -> detection.Roc:
    return detection.roc(row["static"], row["moving"], score, row["mode"])


def _detected(trial: Trial, measured: pd.DataFrame) -> str:
    first, last = measured.iloc[0], measured.iloc[-1]
    if last["signed_auc"] != last["signed_auc"]:
        return f"{trial.label}: no pixel moved in the last epoch."
    said = (
        f"{trial.label}: Delta detected moving pixels with an AUC of {last['signed_auc']:.2f} in the last epoch "
        f"({last['absolute_auc']:.2f} by |Delta - mode|)"
    )
    if len(measured) > 1 and first["signed_auc"] == first["signed_auc"]:
        said += f", {first['signed_auc']:.2f} in the first ({first['absolute_auc']:.2f})"
    best, distance, spread = (number(float(last[name]), 2) for name in ("signed_eta", "absolute_eta", "spread"))
    return (
        f"{said}. The best eta was then {best} ({distance} by |Delta - mode|), the static spread of Delta {spread}; "
        f"the trial's eta was {number(trial.options.eta, 2)}."
    )


def _roc(trials: Sequence[Trial]) -> go.Figure:
    figure = figures.panels([trial.label for trial in trials])
    for position, trial in enumerate(trials):
        panel = figures.cell(position, len(trials))
        chance = go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": figures.GREY, "width": 1})
        chance.update(name="chance", legendgroup="chance", showlegend=position == 0, hoverinfo="skip")
        figure.add_trace(chance, **panel)
        for which, (when, row) in enumerate(_moments(trial).items()):
            for score in SCORES:
                figure.add_trace(_roc_line(row, score, when, which, told=position == 0), **panel)
        if (excluded := _left_out(trial)) is not None:
            name, (fpr, tpr) = "excluded by the trial", excluded
            mark = figures.points([fpr], [tpr], name, colour=MARKED, symbol="diamond", size=11, legendgroup=name)
            figure.add_trace(mark.update(showlegend=position == 0, cliponaxis=False), **panel)
    figure.update_xaxes(range=[0, 1], tickformat=".0%")
    return figure.update_yaxes(range=[0, 1.01], tickformat=".0%")


def _roc_line(row: Any, score: detection.Score, when: str, which: int, *, told: bool) -> go.Scatter:
    """ROC of an epoch as a line. told: show it in the legend, which has one entry for all dotted lines."""
    curve, signed = _curve(row, score), score == "signed"
    name = when if signed else "dotted: by distance"
    line = figures.line(curve.fpr, curve.tpr, name, which, legendgroup=name)
    line.update(mode="lines", line={"color": figures.PALETTE[which], "dash": "solid" if signed else "dot", "width": 2})
    where = f"epoch {int(row['epoch'])}, {SCORES[score]} above %{{text}}"
    return line.update(
        showlegend=told and (signed or when == LAST),
        text=[f"{eta:.3f}" for eta in curve.eta],
        hovertemplate=f"{where}: %{{y:.0%}} of the moving pixels, %{{x:.0%}} of the static pixels<extra></extra>",
    )


def _moments(trial: Trial) -> dict[str, Any]:
    """Rows of the first, middle and last epoch, fewer if the trial has fewer than three."""
    count = len(trial.rows)
    positions = {"first epoch": 0, "middle": (count - 1) // 2, LAST: count - 1}
    names = [LAST] if count == 1 else ["first epoch", LAST] if count == 2 else list(positions)
    return {name: trial.rows.iloc[positions[name]] for name in names}


def _left_out(trial: Trial) -> tuple[float, float] | None:
    """Shares of the static and of the moving pixels outside the limits in the last epoch (fpr, tpr)."""
    limits = [float(limit.iloc[-1]) for limit in trial.limits]
    if not limits or any(limit != limit for limit in limits):
        return None
    score: detection.Score = "absolute" if len(limits) == 2 else "signed"
    return detection.at(_curve(trial.last, score), limits[-1] - float(trial.last["mode"]))


def _areas(trials: Sequence[Trial], measured: Measured) -> go.Figure:
    figure = figures.panels([f"by {words}" for words in SCORES.values()])
    for panel, name in enumerate(AREAS):
        for position, trial in enumerate(trials):
            areas = measured[trial.label][name]
            line = figures.line(trial.epochs, areas, trial.label, position, legendgroup=trial.label)
            line.update(hovertemplate=f"{figures.plain(trial.label)}, epoch %{{x}}: %{{y:.3f}}<extra></extra>")
            figure.add_trace(line.update(showlegend=panel == 0), **figures.cell(panel, len(AREAS)))
    figures.epochs_on_x(figure, last_epoch(trials))
    values = [float(area) for epochs in measured.values() for name in AREAS for area in epochs[name].dropna()]
    figure.update_yaxes(range=[min([0.5, *values]) - 0.02, 1.0])
    return figure.update_yaxes(title_text="AUC", col=1)


SECTIONS: Final = {140: detection_section}
