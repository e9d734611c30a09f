"""All published claims with recomputed figures. Every verdict follows from the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Final

from weightsearch.analysis import (
    claims_cotraining,
    claims_dual_head,
    claims_dual_head_tables,
    claims_silog,
    claims_transfer,
)
from weightsearch.analysis.claim import Claim
from weightsearch.errors import CALL, called

# The claims that only training can judge: the trials of a study are their evidence.
BY_TRAINING: Final = (
    claims_dual_head.BY_TRAINING,
    claims_transfer.BY_TRAINING,
    claims_silog.BY_TRAINING,
    claims_cotraining.BY_TRAINING,
)


def all_claims(evidence: Mapping[str, str] = MappingProxyType({}), call: Sequence[str] = CALL) -> list[Claim]:
    """All claims, in the order of their sources. evidence: a study's measurements for claims in BY_TRAINING, by name.
    call: the study's file and overrides, for the command that prints them. Raises KeyError for another name."""
    unknown = set(evidence) - set(BY_TRAINING)
    if unknown:
        raise KeyError(f"no claim that training decides: {', '.join(sorted(unknown))}")
    with_study = {called(CALL, "analyse claims"): called(call, "analyse claims")}
    return [
        replace(claim, evidence=evidence.get(claim.name, ""), how=with_study.get(claim.how, claim.how))
        for claim in _computed()
    ]


@cache
def _computed() -> tuple[Claim, ...]:
    parts = (claims_dual_head, claims_dual_head_tables, claims_silog, claims_transfer, claims_cotraining)
    return tuple(make() for part in parts for make in part.CLAIMS)
