"""A report's figures and tables as separate files, for papers and spreadsheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from weightsearch.dashboards.report.figures import on_paper
from weightsearch.dashboards.report.section import Section
from weightsearch.errors import WeightsearchError, last_line
from weightsearch.files import write_bytes
from weightsearch.study.spreadsheet import to_csv

WIDTH: Final = 900
SCALE: Final = 2  # PNG pixels per unit of the figure
NO_BROWSER: Final = "figures are drawn by a browser: install Chrome or Chromium, or set BROWSER_PATH to one"


def write_tables(sections: Sequence[Section], form: str, output: Path) -> list[Path]:
    """Write each section's data as CSV. Raises WeightsearchError."""
    named = {section.name: section.data for section in sections if not section.data.empty}
    return [_written(path, to_csv(named[name]).encode()) for name, path in _paths(named, form, output).items()]


def write_figures(sections: Sequence[Section], form: str, output: Path) -> list[Path]:
    """Write each figure as a picture on white. form: png or pdf. Raises WeightsearchError without a browser."""
    named = {
        f"{section.name}-{name}": on_paper(figure, section.captions.get(name, ""))
        for section in sections
        for name, figure in section.figures.items()
    }
    if not named:
        raise WeightsearchError(f"no figure to draw in {', '.join(section.name for section in sections)}")
    written: list[Path] = []
    for name, path in _paths(named, form, output).items():
        written.append(_written(path, _drawn(named[name], form)))
    return written


def _drawn(figure: Any, form: str) -> bytes:
    try:
        content: bytes = figure.to_image(format=form, width=WIDTH, scale=SCALE)
    except Exception as error:  # kaleido, choreographer and the browser raise exceptions of several types
        text = last_line(error)
        browser = "chrome" in text.lower() or "browser" in text.lower()
        raise WeightsearchError(NO_BROWSER if browser else f"cannot draw the figure: {text}") from error
    return content


def _paths(named: dict[str, Any], form: str, output: Path) -> dict[str, Path]:
    if not named:
        raise WeightsearchError("there is nothing to write yet")
    if output.suffix == f".{form}":
        if len(named) > 1:
            raise WeightsearchError(
                f"{output}: there are {len(named)} of them ({', '.join(named)}); name a folder, or --select one"
            )
        return dict.fromkeys(named, output)
    return {name: output / f"{name}.{form}" for name in named}


def _written(path: Path, content: bytes) -> Path:
    write_bytes(path, content)
    return path
