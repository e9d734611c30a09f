"""A study as one page that opens anywhere, or its figures and tables as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from weightsearch.dashboards.report import (
    claims_section,
    detection_section,
    loss_sections,
    rebalancing_section,
    record_sections,
    search_sections,
    sensitivity_section,
    summary_section,
    theory_section,
)
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.section import Section
from weightsearch.errors import WeightsearchError

SECTIONS: Final[Mapping[str, Callable[[ReportData], Section | None]]] = MappingProxyType(
    {
        "summary": summary_section.summary_section,
        "history": search_sections.history_section,
        "pareto": search_sections.pareto_section,
        "curves": search_sections.curves_section,
        "importance": search_sections.importance_section,
        "slices": search_sections.slices_section,
        "sensitivity": sensitivity_section.sensitivity_section,
        "contributions": loss_sections.contributions_section,
        "gradients": loss_sections.gradients_section,
        "conflicts": loss_sections.conflicts_section,
        "convergence": loss_sections.convergence_section,
        "redundancy": loss_sections.redundancy_section,
        "rebalancing": rebalancing_section.rebalancing_section,
        "detection": detection_section.detection_section,
        "rebalancing_theory": theory_section.theory_section,
        "pictures": record_sections.pictures_section,
        "quantisation": loss_sections.quantisation_section,
        "claims": claims_section.claims_section,
        "protocol": record_sections.protocol_section,
        "cost": record_sections.cost_section,
        "environment": record_sections.environment_section,
        "failures": record_sections.failures_section,
    }
)


def chosen_sections(found: ReportData, select: Sequence[str] = ()) -> list[Section]:
    """The sections of a report, or those that are named. Raises WeightsearchError for a name that is none."""
    for name in select:
        if name not in SECTIONS:
            raise WeightsearchError(f"--select: unknown section {name!r}; known: {', '.join(SECTIONS)}")
    made = (make(found) for name, make in SECTIONS.items() if not select or name in select)
    return [section for section in made if section is not None]


def render(name: str, sections: Sequence[Section], now: datetime) -> str:
    """One HTML page with everything in it: no part of it is fetched from anywhere. name: above it."""
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
    found: dict[str, Any] = json.loads(figure.to_json())
    found["layout"].pop("template", None)
    return found


def _script(text: str) -> Markup:
    """JSON that may stand in a script element whatever is in its strings."""
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - no sign is left that HTML could take for its own
