"""Conversion of records of epochs that older versions wrote into checkpoints and databases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from weightsearch.records import HEADS, TermRecord, joined, measured_terms

RENAMED: Final = {"known": "moving_known"}


def from_older(plain: dict[str, Any]) -> dict[str, Any]:
    """The plain form of an EpochRecord, converted from the versions with database tables 1 to 5. Newer records are
    returned unchanged."""
    if "measurements" in plain:
        return plain
    fields = dict(plain)
    terms, probe, balance = fields.pop("terms"), fields.pop("probe", None), fields.pop("rebalance", None)
    without_pixels = fields.pop("without_pixels", {})
    at_heads = {name: term.get("at_heads") for name, term in terms.items()}
    columns = ("value", "weight", "contribution", "gradient")
    measurements = measured_terms({name: TermRecord(*map(term.get, columns)) for name, term in terms.items()})
    if without_pixels:
        measurements["without_pixels"] = dict(without_pixels)
    if at_heads := {joined(HEADS, name): norm for name, norm in at_heads.items() if norm is not None}:
        measurements["gradient"] = at_heads
    if balance is not None:
        measurements |= balance_rows(balance)
    sampled = {} if probe is None else _older_probe(probe)
    problem = None if probe is None else probe.get("problem")
    return {**fields, "measurements": measurements, "sampled": sampled, "problem": problem}


def _older_probe(probe: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    gradients: dict[str, float] = {}
    cosines: dict[str, float] = {}
    for location, measured in probe["places"].items():
        gradients |= {joined(location, name): norm for name, norm in measured["norms"].items()}
        cosines |= {
            joined(location, name, other): cosine
            for name, row in measured["cosines"].items()
            for other, cosine in row.items()
        }
    costs = {"probes": float(probe["probes"]), "seconds": probe["seconds"]}
    return {"probe": costs, "gradient": gradients, "cosine": cosines}


def balance_rows(balance: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The rows of rebalancing in an epoch, from the fields of older versions: `static` and `moving` are histograms,
    `known` is true if the data set knows the moving objects."""
    counts = {
        joined(kind, str(bin_)): float(count)
        for kind in ("static", "moving")
        for bin_, count in enumerate(balance[kind])
        if count
    }
    plain = {name: value for name, value in balance.items() if name not in ("static", "moving")}
    numbers = {RENAMED.get(name, name): float(value) for name, value in plain.items() if value is not None}
    return {"rebalancing": numbers, "delta": counts}
