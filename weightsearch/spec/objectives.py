"""The metrics that a study may optimise. Weighted losses are not among them: zero weights would win."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from weightsearch.records import BETTER
from weightsearch.spec.document import Document
from weightsearch.spec.known_metrics import refusal
from weightsearch.spec.sections import Search

OF_SEVERAL: Final = ("non_dominated", "none")  # pruners that know several objectives


def check_objectives(document: Document, search: Search, terms: Iterable[str], possible: Sequence[str]) -> None:
    """Raise SpecError for an objective that depends on the loss weights, is unknown or not possible here, or has the
    wrong direction."""
    section = ("search", "objectives")
    if not search.objectives:
        raise document.error(section, f"no objective; known: {', '.join(possible)}")
    for name, direction in search.objectives.items():
        if name in BETTER:
            if direction != BETTER[name]:
                right = BETTER[name]
                better = "lower" if right == "minimize" else "higher"
                raise document.error(
                    (*section, name), f"{better} {name} is better; expected {right}, found {direction}"
                )
        elif "loss" in name or "contribution" in name or name in ("total", "objective", *terms):
            raise document.error(
                (*section, name),
                "depends on the loss weights, so that zero weights would win; use a validation metric: "
                + ", ".join(possible),
            )
        else:
            raise document.error((*section, name), refusal(name, possible))
        if name not in possible:
            raise document.error((*section, name), refusal(name, possible))
    if len(search.objectives) > 1 and search.pruner.name not in OF_SEVERAL:
        raise document.error(
            ("search", "pruner"),
            f"{search.pruner.name} compares one value; with several objectives use {' or '.join(OF_SEVERAL)}",
        )
