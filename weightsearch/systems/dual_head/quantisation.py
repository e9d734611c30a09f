"""Quantisation error of depth by the number of levels, for the dual head's two outputs and for a single output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from weightsearch.errors import WeightsearchError

Decode = Literal["linear", "rounded"]
Array = NDArray[np.float64]

DECODES: Final[dict[str, Decode]] = {"linear": "linear", "rounded": "rounded"}
DEEPEST: Final = 10_000  # metres


@dataclass(frozen=True)
class Head:
    """A quantised output. levels: number of levels. step: metres between neighbouring levels. largest_error,
    mean_error: metres, for depth rounded to the nearest level. bits: log2 of levels."""

    levels: int
    step: float
    largest_error: float
    mean_error: float
    bits: float


@dataclass(frozen=True)
class Quantisation:
    """Quantisation errors of a dual head and of a single output.

    single: one output for the whole range. integer, fractional: each output of the dual head alone; the integer
    output's errors are those of its targets floor(y) / max_depth before decoding. largest_error, mean_error: metres,
    of both heads together after decoding. Mean errors are for depth uniformly distributed from 0 to max_depth.
    targets: number of values of the integer target. target_bits: its entropy for depth uniformly distributed from
    min_depth to max_depth.
    """

    max_depth: float
    min_depth: float
    single: Head
    integer: Head
    fractional: Head
    largest_error: float
    mean_error: float
    targets: int
    target_bits: float
    decode: Decode


def quantisation(
    *,
    max_depth: float,
    bits: int = 8,
    levels: int | None = None,
    min_depth: float = 0.0,
    decode: Decode = "linear",
) -> Quantisation:
    """Compute error and information of quantised heads, exactly, for any depth range. levels: replaces 2 ** bits.
    decode: see models.dual_head.decode_depth. Raises WeightsearchError."""
    if not (0 <= min_depth < max_depth <= DEEPEST):
        raise WeightsearchError(
            f"depth from {min_depth:g} to {max_depth:g} m: expected 0 <= min_depth < max_depth <= {DEEPEST}"
        )
    count = 2**bits if levels is None else levels
    if not 2 <= count <= 2**24:
        raise WeightsearchError(f"{count} levels: expected 2 to {2**24}")
    top = count - 1
    whole = np.arange(math.ceil(max_depth), dtype=np.float64)
    decoded = np.round(whole / max_depth * top) / top * max_depth
    off = decoded - whole
    decoded_off = np.round(decoded) - whole if decode == "rounded" else off
    ends = np.minimum(1.0, max_depth - whole)  # the last metre may be shorter than 1 m
    means, largest = _with_fraction(decoded_off, ends, top)
    metres = np.array(interval_shares(0.0, max_depth))
    shares = interval_shares(min_depth, max_depth)
    return Quantisation(
        max_depth=max_depth,
        min_depth=min_depth,
        single=_even(count, max_depth),
        integer=Head(
            count, max_depth / top, float(np.abs(off).max()), float((metres * np.abs(off)).sum()), math.log2(count)
        ),
        fractional=_even(count, 1.0),
        largest_error=float(largest.max()),
        mean_error=float((metres * means).sum()),
        targets=len(shares),
        target_bits=entropy(shares),
        decode=decode,
    )


def _with_fraction(off: Array, ends: Array, top: int) -> tuple[Array, Array]:
    """Mean and maximum of |off + q(f) - f| for a fraction f uniformly distributed from 0 to `ends`, where q rounds to
    multiples of 1 / top. off, ends: metres, [N].

    As f grows, q(f) - f falls from 0 to -half of a step, then jumps to +half and falls again: the integral of the
    absolute value is a sum over whole steps plus the two parts at the ends.
    """
    step, half = 1 / top, 0.5 / top
    first = np.minimum(ends, half)  # up to the first jump
    steps = np.floor(np.maximum(ends - half, 0) * top)
    rest = np.maximum(ends - half - steps * step, 0)
    rest = np.where(rest < 1e-12, 0.0, rest)
    total = _area(off - first, off) + steps * _area(off - half, off + half) + _area(off + half - rest, off + half)
    lowest = np.where(ends >= half, off - half, off - first)
    highest = np.where((steps > 0) | (rest > 0), off + half, off)
    return total / ends, np.maximum(np.abs(lowest), np.abs(highest))


def _area(low: Array, high: Array) -> Array:
    """Integral of |u| from low to high."""
    return (high * np.abs(high) - low * np.abs(low)) / 2


def interval_shares(low: float, high: float) -> list[float]:
    """Shares of depth in each whole metre, for depth uniformly distributed from low to high (metres)."""
    edges = [low, *range(math.floor(low) + 1, math.ceil(high)), high]
    return [(end - start) / (high - low) for start, end in pairwise(edges) if end > start]


def entropy(shares: Sequence[float]) -> float:
    """Entropy of a distribution in bits."""
    return sum(-share * math.log2(share) for share in shares if 0 < share < 1)


def relative_errors(error: float, depths: Sequence[float]) -> list[float]:
    """An error in metres relative to each depth."""
    return [error / depth for depth in depths]


def _even(count: int, extent: float) -> Head:
    step = extent / (count - 1)
    return Head(count, step, step / 2, step / 4, math.log2(count))
