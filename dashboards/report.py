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

from weightsearch.dashboards import (
    claims_part,
    detection_part,
    loss_parts,
    rebalancing_part,
    record_parts,
    search_parts,
    sensitivity_part,
    summary_part,
    theory_part,
)
from weightsearch.dashboards.findings import Findings
from weightsearch.dashboards.part import Part
from weightsearch.errors import WeightsearchError

PARTS: Final[Mapping[str, Callable[[Findings], Part | None]]] = MappingProxyType(
    {
        "summary": summary_part.summary_part,
        "history": search_parts.history_part,
        "pareto": search_parts.pareto_part,
        "curves": search_parts.curves_part,
        "importance": search_parts.importance_part,
        "slices": search_parts.slices_part,
        "sensitivity": sensitivity_part.sensitivity_part,
        "contributions": loss_parts.contributions_part,
        "gradients": loss_parts.gradients_part,
        "conflicts": loss_parts.conflicts_part,
        "convergence": loss_parts.convergence_part,
        "redundancy": loss_parts.redundancy_part,
        "rebalancing": rebalancing_part.rebalancing_part,
        "detection": detection_part.detection_part,
        "rebalancing_theory": theory_part.theory_part,
        "pictures": record_parts.pictures_part,
        "quantisation": loss_parts.quantisation_part,
        "claims": claims_part.claims_part,
        "protocol": record_parts.protocol_part,
        "cost": record_parts.cost_part,
        "environment": record_parts.environment_part,
        "failures": record_parts.failures_part,
    }
)


def chosen_parts(found: Findings, select: Sequence[str] = ()) -> list[Part]:
    """The parts of a report, or those that are named. Raises WeightsearchError for a name that is none."""
    for name in select:
        if name not in PARTS:
            raise WeightsearchError(f"--select: unknown part {name!r}; known: {', '.join(PARTS)}")
    made = (make(found) for name, make in PARTS.items() if not select or name in select)
    return [part for part in made if part is not None]


def render(name: str, parts: Sequence[Part], now: datetime) -> str:
    """One HTML page with everything in it: no part of it is fetched from anywhere. name: above it."""
    page = Environment(
        loader=PackageLoader("weightsearch.dashboards"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    drawn = {f"{part.name}-{name}": _plain(figure) for part in parts for name, figure in part.figures.items()}
    return page.render(
        name=name,
        parts=parts,
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
