"""The sections of a report, each with its sentences, figures, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from weightsearch.config.ranges import text_of


@dataclass(frozen=True)
class Table:
    """A table. rows: cells as text; the first cell of a row is its header. strong: indices of highlighted rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    strong: Sequence[int] = ()


@dataclass(frozen=True)
class Tile:
    """A picture. label: text above it. source: a data URL."""

    label: str
    source: str


@dataclass(frozen=True)
class Strip:
    """Pictures of the same frame. name: the frame's name. note: explanation of the colours. columns: pictures of each
    column, from top to bottom."""

    name: str
    note: str
    columns: Sequence[tuple[Tile, ...]]


@dataclass(frozen=True)
class Section:
    """A section of a report.

    name: for `--select`. text: sentences, a paragraph each. warnings: highlighted sentences of the text. figures:
    name -> figure. facts: a few large numbers, each with its label. captions: figure name -> caption, of sections with
    several figures. data: numbers of the section, for CSV.
    """

    name: str
    title: str
    text: Sequence[str] = ()
    figures: dict[str, go.Figure] = field(default_factory=dict)
    tables: Sequence[Table] = ()
    strips: Sequence[Strip] = ()
    facts: Sequence[tuple[str, str]] = ()
    captions: dict[str, str] = field(default_factory=dict)
    data: pd.DataFrame = field(default_factory=pd.DataFrame)
    warnings: Sequence[str] = ()

    @property
    def short(self) -> bool:
        """True if the section is at most one paragraph without figures, tables, pictures, facts or warnings."""
        return not (self.figures or self.tables or self.strips or self.facts or self.warnings) and len(self.text) < 2


def number(value: Any, digits: int = 4) -> str:
    """Format a value as a cell: floats with four significant digits, an en dash for a missing value."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return text_of(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
