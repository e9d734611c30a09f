"""Style of the figures: a palette for colour-blind readers, on light and dark backgrounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

# Okabe and Ito's colours without black (invisible on dark) and yellow (invisible on light).
PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "x", "cross")
GREY: Final = "#8a8f98"
OPPOSED: Final = [[0.0, "#e28a4a"], [0.5, "#f4f4f4"], [1.0, "#5aa9dd"]]  # a scale from -1 to 1
HEIGHT: Final = 340
PANEL: Final = 230  # height of a panel
COLUMNS: Final = 3
MARGINS: Final = 116  # top and bottom margin, together


def plain(text: str) -> str:
    """Escape text for plotly."""
    for sign, word in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("$", "&#36;")):  # $ is MathJax's
        text = text.replace(sign, word)
    return text


def figure(*, x: str, y: str, height: int = HEIGHT) -> go.Figure:
    fig = go.Figure()
    fig.update_layout(height=height, xaxis_title=plain(x), yaxis_title=plain(y))
    return dressed(fig)


def panels(titles: Sequence[str], *, shared_y: bool = True, height: int = PANEL) -> go.Figure:
    """Create a figure of several panels; `cell` gives the position of the n-th. Narrow pages stack them."""
    columns = min(COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    whole = height * rows + MARGINS
    gap = 64 / (whole - MARGINS) if rows > 1 else 0.0
    fig = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[plain(title) for title in titles],
        shared_yaxes="all" if shared_y else False,
        vertical_spacing=gap,
        horizontal_spacing=0.06 if shared_y else 0.1,
    )
    fig.update_layout(height=whole, meta={"panels": len(titles), "height": height, "shared": shared_y})
    return dressed(fig)


def cell(position: int, count: int) -> dict[str, int]:
    """Row and column of a panel. count: number of panels."""
    columns = min(COLUMNS, count)
    return {"row": position // columns + 1, "col": position % columns + 1}


def dressed(fig: go.Figure) -> go.Figure:
    """Style a figure. Its background is transparent; the page sets the colours of background, text and lines."""
    fig.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 60, "r": 16, "t": 68, "b": 48},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "yref": "container", "y": 1, "yanchor": "top", "x": 0},
        hovermode="closest",
    )
    fig.update_xaxes(automargin=True, zeroline=False, showline=True, ticks="outside")
    fig.update_yaxes(automargin=True, zeroline=False)
    return fig


def epochs_on_x(fig: go.Figure, epochs: int) -> None:
    """Put at most about ten ticks on the x axis, at whole epochs."""
    fig.update_xaxes(tick0=1, dtick=max(1, -(-epochs // 10)), range=[0.5, epochs + 0.5])


def whole_on_x(fig: go.Figure, count: int) -> None:
    """Put ticks at whole numbers only. count: number of values; with more than ten, plotly does so by itself."""
    if count <= 10:
        fig.update_xaxes(tick0=0, dtick=1)


def ratios_on_y(fig: go.Figure) -> None:
    """Make the y axis logarithmic, with ticks at 1, 2 and 5 of each decade."""
    steps = [digit * 10.0**decade for decade in range(-6, 7) for digit in (1, 2, 5)]
    fig.update_yaxes(type="log", tickvals=steps, ticktext=[f"{step:g}" for step in steps])


def small(text: str) -> go.Figure:
    """Create a figure that only shows a text, in place of a figure that is too large."""
    fig = dressed(go.Figure())
    fig.update_xaxes(visible=False).update_yaxes(visible=False)
    return fig.add_annotation(text=plain(text), showarrow=False)


def on_paper(fig: go.Figure, title: str = "") -> go.Figure:
    """Copy a figure onto white, for a file."""
    copy = go.Figure(fig)
    if title:
        copy.update_layout(title={"text": plain(title), "y": 0.99, "yanchor": "top"}, margin={"t": 100})
        copy.update_layout(legend={"y": 0.93}, height=copy.layout.height + 32)
    copy.update_layout(paper_bgcolor="white", plot_bgcolor="white", font_color="#1a1a1a")
    copy.update_xaxes(gridcolor="#dddddd", linecolor="#555555")
    copy.update_yaxes(gridcolor="#dddddd", linecolor="#555555")
    return copy


def line(x: Any, y: Any, name: str, position: int, **options: Any) -> go.Scatter:
    """Create a line; its position selects the colour, dash and symbol."""
    position %= len(PALETTE)
    style = {"color": PALETTE[position], "dash": DASHES[position], "width": 2}
    marker = {"symbol": SYMBOLS[position], "size": 6, "color": PALETTE[position]}
    return go.Scatter(
        x=_plain_list(x), y=_plain_list(y), name=plain(name), mode="lines+markers", line=style, marker=marker, **options
    )


def points(x: Any, y: Any, name: str, *, colour: str = GREY, symbol: str = "circle", **options: Any) -> go.Scatter:
    size = options.pop("size", 6)
    marker = {"color": colour, "symbol": symbol, "size": size} | options.pop("marker", {})
    return go.Scatter(x=_plain_list(x), y=_plain_list(y), name=plain(name), mode="markers", marker=marker, **options)


def bars(x: Any, y: Any, name: str, position: int, **options: Any) -> go.Bar:
    marker = {"color": PALETTE[position % len(PALETTE)]}
    return go.Bar(x=_plain_list(x), y=_plain_list(y), name=plain(name), marker=marker, **options)


def matrix(values: pd.DataFrame, **options: Any) -> go.Heatmap:
    """Create a heat map of cosines, with numbers in the cells."""
    names = [plain(str(name)) for name in values.columns]
    return go.Heatmap(
        z=[[None if value != value else round(float(value), 4) for value in row] for row in values.to_numpy()],
        x=names,
        y=names,
        zmin=-1,
        zmax=1,
        colorscale=OPPOSED,
        texttemplate="%{z:.2f}",
        textfont={"color": "#1a1a1a"},
        hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
        **options,
    )


def _plain_list(values: Any) -> list[Any]:
    """List of values with floats rounded to six digits, so that a report of thousands of trials stays small."""
    return [float(f"{value:.6g}") if isinstance(value, float) else value for value in list(values)]
