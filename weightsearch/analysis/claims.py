"""Every claim whose figures can be computed again. The verdicts are worked out from the numbers, not written down."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from weightsearch.analysis import claims_cotraining, claims_dual_head
from weightsearch.analysis.claim import Claim

BY_TRAINING = "best_weights"  # the claim that only a study can judge


def all_claims(evidence: str = "") -> list[Claim]:
    """In the order of their sources. evidence: what a study has measured of the claim that training decides."""
    return [replace(claim, evidence=evidence) if claim.name == BY_TRAINING else claim for claim in _computed()]


@cache
def _computed() -> tuple[Claim, ...]:
    makers = (*claims_dual_head.CLAIMS.values(), *claims_cotraining.CLAIMS.values())
    return tuple(make() for make in makers)
