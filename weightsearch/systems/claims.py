"""All published claims with recomputed figures. Every verdict follows from the figures."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Final

from weightsearch.errors import CALL, called
from weightsearch.systems.claim import Claim

SYSTEMS: Final = ("dual_head", "silog", "transfer", "cotraining")  # in the order of a report


def all_claims(evidence: Mapping[str, str] = MappingProxyType({}), call: Sequence[str] = CALL) -> list[Claim]:
    """All claims, in the order of their systems.

    evidence: claim name -> a study's measurements, for claims that only training can verify; other names raise
    KeyError. call: the study's file and overrides, for the command that prints them.
    """
    unknown = set(evidence) - set(by_training())
    if unknown:
        raise KeyError(f"no claim that training decides: {', '.join(sorted(unknown))}")
    with_study = {called(CALL, "analyse claims"): called(call, "analyse claims")}
    return [
        replace(claim, evidence=evidence.get(claim.name, ""), how=with_study.get(claim.how, claim.how))
        for claim in _computed()
    ]


def by_training() -> list[str]:
    """Names of the claims that only training can verify, one per system; a study's trials are their evidence."""
    return [str(part(system, "claims").BY_TRAINING) for system in SYSTEMS]


def part(system: str, name: str) -> ModuleType:
    """Import a module of a system's folder."""
    return importlib.import_module(f"weightsearch.systems.{system}.{name}")


@cache
def _computed() -> tuple[Claim, ...]:
    claims: list[Claim] = []
    for system in SYSTEMS:
        folder = importlib.import_module(f"weightsearch.systems.{system}")
        names = sorted(
            module.name for module in pkgutil.iter_modules(folder.__path__) if module.name.startswith("claims")
        )
        claims += [make() for name in names for make in part(system, name).CLAIMS]
    return tuple(claims)
