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
    """rows: cells as text, the first one of each row its head. strong: rows that are set off."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    strong: Sequence[int] = ()


@dataclass(frozen=True)
class Tile:
    """A picture. source: a data URL. label: above it."""

    label: str
    source: str


@dataclass(frozen=True)
class Strip:
    """Pictures of the same frame. name: the frame's. note: what its colours stand for. columns: the pictures of each,
    one above another."""

    name: str
    note: str
    columns: Sequence[tuple[Tile, ...]]


@dataclass(frozen=True)
class Section:
    """name: the section's name for `--select`. text: sentences, a paragraph each. warnings: highlighted sentences of
    the text. figures: name -> figure. data: the numbers behind the section, for CSV. facts: a few large numbers, each
    with its label. captions: figure name -> caption, of sections with several figures."""

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
        """True if the section is a sentence or two without anything to see."""
        return not (self.figures or self.tables or self.strips or self.facts or self.warnings) and len(self.text) < 2


def number(value: Any, digits: int = 4) -> str:
    """A value as a cell: four significant digits, an en dash for what is not there."""
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
