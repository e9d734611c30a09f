"""Section of a report on rebalancing: the distribution of Delta, and the pixels that depth and pose learned from.

Delta is the photometric error by depth and pose minus the photometric error by flow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from weightsearch.config.schema import Rebalance
from weightsearch.dashboards.report import figures
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section, Table, number
from weightsearch.records import DELTA_BINS
from weightsearch.study.frames import Frames
from weightsearch.systems.cotraining import detection

NOTHING: Final = "No epoch of the best trial or of a baseline has been trained with rebalancing yet."
QUANTITIES: Final = (
    "mode", "kept", "flow_kept", "mean", "deviation", "below", "near", "moving_known", "precision", "recall",
)  # fmt: skip
LOOKED_AT: Final = 6  # most trials drawn side by side
KINDS: Final[Mapping[str, str]] = {"static": "static pixels", "moving": "moving pixels"}
FAINTEST, LARGEST = -5.0, -0.5  # ends of the colour scale, as powers of ten of a share
MARKED: Final = figures.PALETTE[1]  # a colour visible on the whole colour scale


@dataclass(frozen=True)
class Trial:
    """A trial of the section. label: name in the report. rows: see `rebalanced`."""

    label: str
    options: Rebalance
    rows: pd.DataFrame

    @property
    def epochs(self) -> list[int]:
        return [int(epoch) for epoch in self.rows["epoch"]]

    @property
    def last(self) -> Any:
        return self.rows.iloc[-1]

    @property
    def limits(self) -> list[pd.Series[float]]:
        """Limits of Delta per epoch: both limits, or the upper limit, of the pixels used by depth and pose; NaN during
        warm-up. Empty for methods that do not use Delta."""
        mode, eta = self.rows["mode"], self.options.eta
        of_method = {
            "neighbourhood": [mode - eta, mode + eta],
            "one_sided": [mode + eta],
            "negative": [0.0 * mode],
            "minimum": [0.0 * mode],
        }
        after = self.rows["epoch"] > self.options.warmup_epochs
        return [limit.where(after) for limit in of_method.get(self.options.method, [])]

    @property
    def has_moving_truth(self) -> bool:
        """True if ground truth of moving pixels is available in every epoch."""
        return bool((self.rows["moving_known"] > 0).all())

    def histogram(self, kind: str) -> NDArray[np.float64]:
        """Counts of static or moving pixels, [epochs, bins]."""
        return np.array(list(self.rows[kind]), dtype=float)

    @property
    def all_pixels(self) -> NDArray[np.float64]:
        """Counts of all pixels, [epochs, bins]."""
        return np.add(self.histogram("static"), self.histogram("moving"))


def rebalanced(frames: Frames, number: int) -> pd.DataFrame:
    """Rebalancing measurements of a trial, one row per epoch: epoch, the quantities of
    training/measures/rebalancing.py (NaN if not measured), and the histograms `static` and `moving` as lists."""
    rows = frames.rows("rebalancing", "quantity", number=number)
    wide = rows.pivot(index="epoch", columns="quantity", values="value").reindex(columns=QUANTITIES)
    counts = {kind: np.zeros((len(wide), DELTA_BINS), int) for kind in KINDS}
    positions = {epoch: row for row, epoch in enumerate(wide.index)}
    delta = frames.rows("delta", "kind", "bin", number=number)
    for epoch, kind, bin_, count in zip(delta["epoch"], delta["kind"], delta["bin"], delta["value"], strict=True):
        counts[kind][positions[epoch], int(bin_)] = count
    for kind, table in counts.items():
        wide[kind] = pd.Series(table.tolist(), index=wide.index)
    return wide.reset_index()


def looked_at(report: ReportData) -> list[Trial] | None:
    """Trials to draw: those with a rebalanced epoch; None if the study does not rebalance."""
    if report.config.base.rebalance is None and report.frames.rows("rebalancing", "quantity").empty:
        return None
    trials = []
    for label, trial in report.shown.items():
        rows = rebalanced(report.frames, trial)
        if not rows.empty:
            section = report.configuration(trial).get("rebalance") or {}
            trials.append(Trial(label, Rebalance(**section), rows))
    return trials[:LOOKED_AT]


def curves(trials: Sequence[Trial], of: Callable[[Trial], Mapping[str, Any]], y: str) -> go.Figure:
    """Draw a panel per trial, with a line over epochs for each entry of `of(trial)`."""
    figure = figures.panels([trial.label for trial in trials])
    for position, trial in enumerate(trials):
        for which, (name, values) in enumerate(of(trial).items()):
            line = figures.line(
                trial.epochs, values.astype(float), name, which, legendgroup=name, showlegend=position == 0
            )
            line.update(hovertemplate=f"{figures.plain(name)}, epoch %{{x}}: %{{y:.3g}}<extra></extra>")
            figure.add_trace(line, **figures.cell(position, len(trials)))
    figures.epochs_on_x(figure, last_epoch(trials))
    return figure.update_yaxes(title_text=figures.plain(y), col=1)


def last_epoch(trials: Sequence[Trial]) -> int:
    return max(max(trial.epochs) for trial in trials)


def rebalancing_section(report: ReportData) -> Section | None:
    title = "Rebalancing"
    trials = looked_at(report)
    if trials is None:
        return None
    if not trials:
        return Section("rebalancing", title, [NOTHING])
    text = [
        "Delta is the photometric error by depth and pose minus the photometric error by flow. Above 0, flow explains "
        "a pixel better, as at moving objects. Depth and pose learn from the pixels that the method does not exclude.",
        _learned_from(trials[0]),
    ]
    labelled = all(trial.has_moving_truth for trial in trials)
    drawn: dict[str, go.Figure] = {}
    captions: dict[str, str] = {}
    for name, words in KINDS.items() if labelled else [("all", "all pixels")]:
        drawn[name] = _distribution(trials, name if labelled else "static")
        captions[name] = f"Delta over training: {words}"
    drawn["shares"] = _shares(trials, {"kept": "used by depth and pose", "flow_kept": "used by flow"})
    captions["shares"] = "Shares of the pixels"
    if labelled:
        drawn["excluded"] = _shares(
            trials,
            {
                "precision": "excluded pixels that move (precision)",
                "recall": "moving pixels that are excluded (recall)",
            },
        )
        captions["excluded"] = "Excluded pixels"
    columns = ["", "method", "eta", "mode", "used by depth and pose", "used by flow", "precision", "recall"]
    table = Table(columns, [_row(trial) for trial in trials], "In the last epoch.")
    data = pd.concat([trial.rows.assign(trial=trial.label, method=trial.options.method) for trial in trials])
    return Section("rebalancing", title, text, drawn, [table], captions=captions, data=data)


def _learned_from(trial: Trial) -> str:
    first, last = trial.rows.iloc[0], trial.last
    said = (
        f"{trial.label} ({trial.options.method}): depth and pose learned from {_percent(last['kept'])} of the pixels "
        f"in the last epoch, {_percent(first['kept'])} in the first"
    )
    if trial.has_moving_truth and last["recall"] == last["recall"]:
        said += f"; {_percent(last['recall'])} of the moving pixels were excluded"
    if trial.has_moving_truth and last["precision"] == last["precision"]:
        said += f", and {_percent(last['precision'])} of the excluded pixels moved"
    return f"{said}."


def _row(trial: Trial) -> list[str]:
    last = trial.last
    shares = [_percent(last[name]) for name in ("kept", "flow_kept", "precision", "recall")]
    return [trial.label, trial.options.method, number(trial.options.eta, 3), number(float(last["mode"]), 3), *shares]


def _distribution(trials: Sequence[Trial], kind: str) -> go.Figure:
    """Draw shares of static or moving pixels over epochs and Delta, with the mode and the method's limits."""
    figure = figures.panels([trial.label for trial in trials])
    low, high = window(trials)
    for position, trial in enumerate(trials):
        panel = figures.cell(position, len(trials))
        counts = trial.histogram(kind)
        centres = detection.centres(counts.shape[1])
        inside = (centres > low) & (centres < high)
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)[:, inside].T
        figure.add_trace(
            go.Heatmap(
                x=trial.epochs,
                y=[float(f"{centre:.6g}") for centre in centres[inside]],
                z=[[round(float(np.log10(share)), 3) if share > 0 else None for share in row] for row in shares],
                customdata=[[float(f"{share:.3g}") for share in row] for row in shares],
                coloraxis="coloraxis",
                hovertemplate="epoch %{x}, Delta %{y:.3f}: %{customdata:.2%}<extra></extra>",
            ),
            **panel,
        )
        for trace in _marks(trial, told=position == 0):
            figure.add_trace(trace, **panel)
    ticks = np.arange(FAINTEST, LARGEST)
    figure.update_layout(
        coloraxis={
            "colorscale": "Viridis",
            "cmin": FAINTEST,
            "cmax": LARGEST,
            "colorbar": {
                "tickvals": ticks,
                "ticktext": [power_of_ten(tick) for tick in ticks],
                "thickness": 10,
                "lenmode": "pixels",
                "len": 150,
                "y": 1,
                "yanchor": "top",
            },
        }
    )
    figure.update_yaxes(range=[low, high], showgrid=False).update_yaxes(title_text="Delta", col=1)
    figures.epochs_on_x(figure, last_epoch(trials))
    return figure


def _marks(trial: Trial, *, told: bool) -> list[go.Scatter]:
    lines = [("mode", trial.rows["mode"], "solid", told)]
    for which, limit in enumerate(trial.limits):
        lines.append(("limit", limit, "dash", told and which == 0))
    marks = []
    for name, values, dash, shown in lines:
        line = figures.line(trial.epochs, values, name, 0, legendgroup=name, showlegend=shown)
        line.update(mode="lines", line={"color": MARKED, "dash": dash, "width": 2})
        marks.append(line.update(hovertemplate=f"{name}, epoch %{{x}}: %{{y:.3f}}<extra></extra>"))
    return marks


def window(trials: Sequence[Trial]) -> tuple[float, float]:
    """Range of Delta to draw: 99.9 % of the pixels and the methods' limits, with a margin."""
    pooled = np.sum([trial.all_pixels.sum(axis=0) for trial in trials], axis=0)
    ends = [detection.quantile(pooled, share) for share in (0.0005, 0.9995)]
    ends += [float(end) for trial in trials for limit in trial.limits for end in (limit.min(), limit.max())]
    finite = [end for end in ends if end == end] or [-1.0, 1.0]
    room = 0.05 * (max(finite) - min(finite)) + 0.01
    return max(-1.0, min(finite) - room), min(1.0, max(finite) + room)


def _shares(trials: Sequence[Trial], columns: Mapping[str, str]) -> go.Figure:
    """Draw a panel per column, with a line per trial."""
    figure = figures.panels(list(columns.values()))
    for panel, column in enumerate(columns):
        for position, trial in enumerate(trials):
            line = figures.line(
                trial.epochs,
                trial.rows[column],
                trial.label,
                position,
                legendgroup=trial.label,
                showlegend=panel == 0,
            )
            line.update(hovertemplate=f"{figures.plain(trial.label)}, epoch %{{x}}: %{{y:.1%}}<extra></extra>")
            figure.add_trace(line, **figures.cell(panel, len(columns)))
    figures.epochs_on_x(figure, last_epoch(trials))
    return figure.update_yaxes(range=[0, 1.02], tickformat=".0%")


def power_of_ten(power: float) -> str:
    """Format a power of ten as a percentage for an axis."""
    return f"{10.0 ** (power + 2):g} %"


def _percent(share: float) -> str:
    return "–" if share != share else f"{100 * share:.0f} %"


SECTIONS: Final = {130: rebalancing_section}
