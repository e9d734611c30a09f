"""What a number of levels costs a depth: the dual head's two outputs, and one output for comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from weightsearch.errors import WeightsearchError

DEEPEST: Final = 10_000  # metres
STEPS: Final = 4096  # of the fraction, over which errors are averaged


@dataclass(frozen=True)
class Head:
    """One output whose values are quantised. levels: how many it can have. step: metres between two of them.
    largest_error, mean_error: metres, of a depth that is rounded to the nearest. bits: log2 of the levels."""

    levels: int
    step: float
    largest_error: float
    mean_error: float
    bits: float


@dataclass(frozen=True)
class Quantisation:
    """single: one output for the whole range. integer, fractional: each output of the dual head by itself; the integer
    one's errors are those of its targets floor(y) / max_depth. largest_error, mean_error: metres, of the two together
    under linear decoding, for depths evenly spread from 0 to max_depth. targets: values that the integer target can
    have; target_bits: its entropy for depth evenly spread over min_depth to max_depth."""

    max_depth: float
    min_depth: float
    single: Head
    integer: Head
    fractional: Head
    largest_error: float
    mean_error: float
    targets: int
    target_bits: float


def quantisation(*, max_depth: float, bits: int = 8, levels: int | None = None, min_depth: float = 0.0) -> Quantisation:
    """Error and information of quantised heads. levels: in place of 2 ** bits. Raises WeightsearchError."""
    if not (0 <= min_depth < max_depth <= DEEPEST):
        raise WeightsearchError(
            f"depth from {min_depth:g} to {max_depth:g} m: expected 0 <= min_depth < max_depth <= {DEEPEST}"
        )
    count = 2**bits if levels is None else levels
    if not 2 <= count <= 2**24:
        raise WeightsearchError(f"{count} levels: expected 2 to {2**24}")
    top = count - 1
    whole = np.arange(math.ceil(max_depth))
    rounded = np.round(whole / max_depth * top) / top * max_depth - whole
    fraction = (np.arange(STEPS) + 0.5) / STEPS
    of_fraction = np.round(fraction * top) / top - fraction
    # A last metre that is not whole ends early, and counts less.
    parts = interval_shares(0.0, max_depth)
    ends = [of_fraction if end >= 1 else of_fraction[fraction < end] for end in max_depth - whole]
    means = [float(np.abs(start + end).mean()) for start, end in zip(rounded, ends, strict=True)]
    shares = interval_shares(min_depth, max_depth)
    return Quantisation(
        max_depth=max_depth,
        min_depth=min_depth,
        single=_even(count, max_depth),
        integer=Head(
            count, max_depth / top, float(np.abs(rounded).max()), float(np.abs(rounded).mean()), math.log2(count)
        ),
        fractional=_even(count, 1.0),
        largest_error=float(np.abs(rounded).max()) + 0.5 / top,
        mean_error=sum(share * mean for share, mean in zip(parts, means, strict=True)),
        targets=len(shares),
        target_bits=entropy(shares),
    )


def interval_shares(low: float, high: float) -> list[float]:
    """The share of depths, evenly spread over low to high in metres, that lies in each whole metre."""
    edges = [low, *range(math.floor(low) + 1, math.ceil(high)), high]
    return [(end - start) / (high - low) for start, end in pairwise(edges) if end > start]


def entropy(shares: Sequence[float]) -> float:
    """Bits of a distribution."""
    return sum(-share * math.log2(share) for share in shares if 0 < share < 1)


def relative_errors(error: float, depths: Sequence[float]) -> list[float]:
    """An error in metres as a share of each depth."""
    return [error / depth for depth in depths]


def _even(count: int, extent: float) -> Head:
    step = extent / (count - 1)
    return Head(count, step, step / 2, step / 4, math.log2(count))
