"""The metrics that a study may optimise. Weighted losses are not among them: zero weights would win."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from weightsearch.config.known_metrics import refusal
from weightsearch.config.schema import Search
from weightsearch.config.yaml_source import YamlSource
from weightsearch.records import BETTER

OF_SEVERAL: Final = ("non_dominated", "none")  # pruners that know several objectives


def check_objectives(yaml_source: YamlSource, search: Search, terms: Iterable[str], possible: Sequence[str]) -> None:
    """Raise ConfigError for an objective that depends on the loss weights, is unknown or not possible here, or has the
    wrong direction."""
    section = ("search", "objectives")
    if not search.objectives:
        raise yaml_source.error(section, f"no objective; known: {', '.join(possible)}")
    for name, direction in search.objectives.items():
        if name in BETTER:
            if direction != BETTER[name]:
                right = BETTER[name]
                better = "lower" if right == "minimize" else "higher"
                raise yaml_source.error(
                    (*section, name), f"{better} {name} is better; expected {right}, found {direction}"
                )
        elif "loss" in name or "contribution" in name or name in ("total", "objective", *terms):
            raise yaml_source.error(
                (*section, name),
                "depends on the loss weights, so that zero weights would win; use a validation metric: "
                + ", ".join(possible),
            )
        else:
            raise yaml_source.error((*section, name), refusal(name, possible))
        if name not in possible:
            raise yaml_source.error((*section, name), refusal(name, possible))
    if len(search.objectives) > 1 and search.pruner.name not in OF_SEVERAL:
        raise yaml_source.error(
            ("search", "pruner"),
            f"{search.pruner.name} compares one value; with several objectives use {' or '.join(OF_SEVERAL)}",
        )
