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
    """All claims, in the order of their systems. evidence: a study's measurements for the claims that only training can
    judge, by name. call: the study's file and overrides, for the command that prints them. Raises KeyError for another
    name."""
    unknown = set(evidence) - set(by_training())
    if unknown:
        raise KeyError(f"no claim that training decides: {', '.join(sorted(unknown))}")
    with_study = {called(CALL, "analyse claims"): called(call, "analyse claims")}
    return [
        replace(claim, evidence=evidence.get(claim.name, ""), how=with_study.get(claim.how, claim.how))
        for claim in _computed()
    ]


def by_training() -> list[str]:
    """The claims that only training can judge, one of each system: the trials of a study are their evidence."""
    return [str(part(system, "claims").BY_TRAINING) for system in SYSTEMS]


def part(system: str, name: str) -> ModuleType:
    """A module of a system's folder."""
    return importlib.import_module(f"weightsearch.systems.{system}.{name}")


@cache
def _computed() -> tuple[Claim, ...]:
    found: list[Claim] = []
    for system in SYSTEMS:
        folder = importlib.import_module(f"weightsearch.systems.{system}")
        names = sorted(one.name for one in pkgutil.iter_modules(folder.__path__) if one.name.startswith("claims"))
        found += [make() for name in names for make in part(system, name).CLAIMS]
    return tuple(found)
