"""The report of a study as one HTML page without external files."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section
from weightsearch.errors import WeightsearchError

FOLDERS: Final = ("weightsearch.dashboards.report", "weightsearch.systems")

Make = Callable[[ReportData], Section | None]


def _discover() -> Mapping[str, Make]:
    """Collect the section functions of the modules in FOLDERS whose names end with `_section` or `_sections`.

    Each module's SECTIONS maps positions in the report to functions. `cost_section` makes the section `cost`.
    """
    makers: dict[int, Make] = {}
    for package in FOLDERS:
        folder = importlib.import_module(package)
        for info in pkgutil.walk_packages(folder.__path__, f"{package}."):
            if info.name.endswith(("_section", "_sections")):
                module = importlib.import_module(info.name)
                if twice := makers.keys() & module.SECTIONS.keys():
                    raise ValueError(f"{info.name}: another section has the position {min(twice)}")
                makers |= module.SECTIONS
    return {makers[position].__name__.removesuffix("_section"): makers[position] for position in sorted(makers)}


SECTIONS: Final = _discover()


def chosen_sections(report: ReportData, select: Sequence[str] = ()) -> list[Section]:
    """Make the sections of a report: all, or those in `select`. Raises WeightsearchError for an unknown name."""
    for name in select:
        if name not in SECTIONS:
            raise WeightsearchError(f"--select: unknown section {name!r}; known: {', '.join(SECTIONS)}")
    sections: list[Section] = []
    for name, make in SECTIONS.items():
        if select and name not in select:
            continue
        section = make(report)
        if section is not None:
            sections.append(section)
        elif select:
            raise WeightsearchError(f"--select: the section {name!r} does not apply to this study")
    return sections


def render(name: str, sections: Sequence[Section], now: datetime) -> str:
    """Render sections as one HTML page that loads nothing from elsewhere. name: title of the page."""
    page = Environment(
        loader=PackageLoader("weightsearch.dashboards.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    drawn = {
        f"{section.name}-{name}": _plain(figure) for section in sections for name, figure in section.figures.items()
    }
    return page.render(
        name=name,
        sections=sections,
        figures=_script(json.dumps(drawn)),
        plotly=Markup(get_plotlyjs().replace("</script", "<\\/script")) if drawn else "",  # noqa: S704 - the library itself
        made=now.strftime("%Y-%m-%d %H:%M"),
        version=version("weightsearch"),
    )


def _plain(figure: Any) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(figure.to_json())
    content["layout"].pop("template", None)
    return content


def _script(text: str) -> Markup:
    """Escape JSON for a script element, whatever its strings contain."""
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - all characters with a meaning in HTML are escaped
