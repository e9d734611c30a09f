"""Section of a report that compares the theory of rebalancing with measurements.

V, the neighbourhood, is the set of pixels whose Delta lies within eta of its mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from weightsearch.dashboards.report import figures
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table, number
from weightsearch.systems.cotraining import detection, rebalancing
from weightsearch.systems.cotraining.rebalancing_section import NOTHING, Trial, curves, looked_at, power_of_ten, window

FAINTEST: Final = -6.0  # power of ten of the smallest share drawn
SIDES: Final = {
    "found": "difference of flow's errors",
    "needed": "threshold for a normal Delta",
    "needed_measured": "measured threshold",
}
INSIDE: Final = {"inside": "E[Delta | V]", "inside_normal": "E[Delta | V] of a normal Delta", "mean": "mu"}
STATEMENT: Final = (
    "Two sets of pixels are compared: the neighbourhood V, |Delta - mode| ≤ eta, and the pixels with Delta < 0. Which "
    "set has the lower mean photometric error by depth, which is flow's error plus Delta? If Delta is normal with mean "
    "mu, mode mu and standard deviation sigma, V has it if, and only if, the difference E[flow's error | Delta < 0] - "
    "E[flow's error | V] is above the threshold sigma phi(m) / Phi(-m), with m = mu / sigma. The threshold grows with "
    "mu. For the measured Delta the threshold is E[Delta | V] - E[Delta | Delta < 0]."
)


def rebalancing_theory_section(report: ReportData) -> Section | None:
    name, title = "rebalancing_theory", "Rebalancing: theory against measurement"
    trials = looked_at(report)
    if trials is None:
        return None
    if not trials:
        return Section(name, title, [NOTHING])
    measured = {trial.label: _sides(trial) for trial in trials}
    drawn = {
        "margin": curves(trials, lambda trial: _named(measured[trial.label], SIDES), "photometric error"),
        "normal": _normal(trials),
        "inside": curves(trials, lambda trial: _named(measured[trial.label], INSIDE), "Delta"),
    }
    captions = {
        "margin": "V is the better choice where the difference of flow's errors is above the threshold",
        "normal": "Delta in the last epoch, and the normal distribution with the same mean and standard deviation",
        "inside": "The mean of Delta inside V",
    }
    columns = [
        "",
        "mu",
        "sigma",
        "m",
        *SIDES.values(),
        "better by the normal threshold",
        "better by the measured threshold",
    ]
    rows = []
    for label, sides in measured.items():
        last = sides.iloc[-1]
        values = [number(float(last[key]), 3) for key in ("mean", "deviation", "m", *SIDES)]
        rows.append([label, *values, *(_choice(_better(last, side)) for side in ("needed", "needed_measured"))])
    text = [STATEMENT, *_weighed(trials[0].label, measured[trials[0].label])]
    table = Table(columns, rows, "In the last epoch.")
    data = pd.concat([sides.assign(trial=label) for label, sides in measured.items()], ignore_index=True)
    return Section(name, title, text, drawn, [table], captions=captions, data=data)


def _sides(trial: Trial) -> pd.DataFrame:
    """One row per epoch: mean, deviation, m; found, needed, needed_measured: sides of the statement, the last without
    assuming a normal distribution; inside, inside_normal: E[Delta | V], measured and for a normal distribution; off:
    total variation distance of Delta's histogram from the normal distribution."""
    rows, eta = [], trial.options.eta
    for (_, row), counts in zip(trial.rows.iterrows(), trial.all_pixels, strict=True):
        mean, deviation, mode = (float(row[name]) for name in ("mean", "deviation", "mode"))
        sides = rebalancing.margin(mean, deviation, float(row["below"]), float(row["near"]))
        inside, normal, off = detection.mean_between(counts, mode - eta, mode + eta), math.nan, math.nan
        if deviation > 0 and not math.isnan(mode):
            normal = rebalancing.truncated_moments(mean, deviation, mode - eta, mode + eta)[0]
            off = rebalancing.off_normal(counts, mean, deviation)
        rows.append(
            {
                "epoch": int(row["epoch"]),
                "mean": mean,
                "deviation": deviation,
                "m": mean / deviation if deviation > 0 else math.nan,
                "found": sides.found,
                "needed": sides.needed,
                "needed_measured": inside - detection.mean_between(counts, -1.0, 0.0),
                "inside": inside,
                "inside_normal": normal,
                "off": off,
            }
        )
    return pd.DataFrame(rows)


def _better(row: Any, side: str) -> bool | None:
    return rebalancing.Margin(float(row["found"]), float(row[side])).better


def _choice(better: bool | None) -> str:
    return "–" if better is None else "V" if better else "Delta < 0"


def _weighed(label: str, sides: pd.DataFrame) -> list[str]:
    last = sides.iloc[-1]
    predicted, seen = (_better(last, side) for side in ("needed", "needed_measured"))
    if predicted is None or seen is None:
        return [f"{label}: in the last epoch no pixel was in V, or none had Delta < 0: nothing can be compared."]
    verdicts = [_better(row, "needed_measured") for _, row in sides.iterrows()]
    differ, needed, measured, m = (_signed(last[name]) for name in (*SIDES, "m"))
    agrees = "which says the same" if predicted == seen else f"which says {_words(seen)}"
    said = (
        f"{label}: in the last epoch the difference of flow's errors was {differ}. The threshold for a normal Delta "
        f"was {needed} (m = {m}), which says that {_words(predicted)} leaves the lower error; the measured threshold "
        f"was {measured}, {agrees}. By the measured threshold V was the better choice in "
        f"{sum(verdict is True for verdict in verdicts)} of {len(verdicts)} epochs."
    )
    inside = (
        f"Inside V the mean of Delta was {_signed(last['inside'])}; a normal Delta would have "
        f"{_signed(last['inside_normal'])} there; mu was {_signed(last['mean'])}. The measured and the normal "
        f"distribution have {100 * (1 - last['off']):.0f} % of their mass in common."
    )
    return [said, inside]


def _words(better: bool) -> str:
    return "V" if better else "the rule Delta < 0"


def _signed(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _named(sides: pd.DataFrame, names: dict[str, str]) -> dict[str, pd.Series[float]]:
    return {words: sides[name] for name, words in names.items()}


def _normal(trials: Sequence[Trial]) -> go.Figure:
    """Draw shares of the last epoch's pixels by Delta, on a logarithmic axis."""
    figure = figures.panels([trial.label for trial in trials])
    low, high = window(trials)
    for position, trial in enumerate(trials):
        counts = trial.all_pixels[-1]
        mean, deviation = float(trial.last["mean"]), float(trial.last["deviation"])
        shares = {"measured": counts / max(counts.sum(), 1.0)}
        if deviation > 0:
            normal = rebalancing.normal_shares(mean, deviation, detection.edges(len(counts)))
            shares["normal"] = normal
        for which, (name, values) in enumerate(shares.items()):
            seen = [float(f"{share:.4g}") if share > 10**FAINTEST else None for share in values]
            line = figures.line(
                detection.centres(len(counts)), seen, name, which, legendgroup=name, showlegend=position == 0
            )
            line.update(mode="lines", line={"shape": "hvh" if which == 0 else "linear"})
            line.update(hovertemplate=f"{name}, Delta %{{x:.3f}}: %{{y:.2%}}<extra></extra>")
            figure.add_trace(line, **figures.cell(position, len(trials)))
    ticks = np.arange(FAINTEST, 1)
    figure.update_yaxes(
        type="log", range=[FAINTEST, 0], tickvals=10**ticks, ticktext=[power_of_ten(tick) for tick in ticks]
    )
    figure.update_xaxes(range=[low, high])
    return figure.update_yaxes(title_text="share of the pixels", col=1)


SECTIONS: Final = {150: rebalancing_theory_section}
