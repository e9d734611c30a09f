"""The cost of quantised heads against a walk over every code of both heads, with the network's own decoding."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from weightsearch.models.dual_head import decode_depth
from weightsearch.systems.dual_head.quantisation import interval_shares, quantisation


def by_codes(max_depth: float, levels: int, decode: str) -> tuple[float, float]:
    """Mean and supremum of |decoded depth - depth| for depth evenly spread over 0 to max_depth: for every whole metre
    and every code of the fraction, the depths that get this code have an error that is linear in depth."""
    top = levels - 1
    codes = torch.arange(levels, dtype=torch.float64)
    total, largest = 0.0, 0.0
    for whole in range(math.ceil(max_depth)):
        integer = torch.tensor(round(whole / max_depth * top) / top, dtype=torch.float64)
        decoded = decode_depth(integer, codes / top, max_depth=max_depth, rounded=decode == "rounded") - whole
        low = ((codes - 0.5) / top).clamp(min=0)
        high = ((codes + 0.5) / top).clamp(max=min(1.0, max_depth - whole))
        for one, other in torch.stack([decoded - low, decoded - high], dim=1)[high > low].tolist():
            largest = max(largest, abs(one), abs(other))
            same = one * other >= 0  # else the error changes its sign between the two ends
            total += (one - other) * abs(one + other) / 2 if same else (one**2 + other**2) / 2
    return total / max_depth, largest


@settings(max_examples=40, deadline=None)
@given(
    max_depth=st.floats(0.05, 40),
    levels=st.sampled_from([2, 3, 16, 48, 256]),
    decode=st.sampled_from(["linear", "rounded"]),
)
@example(max_depth=7.5, levels=256, decode="linear")
@example(max_depth=0.6, levels=256, decode="linear")
@example(max_depth=3.001, levels=256, decode="linear")
@example(max_depth=15.0, levels=256, decode="rounded")
@example(max_depth=80.5, levels=48, decode="rounded")
def test_errors_are_those_of_every_code(max_depth, levels, decode):
    mean, largest = by_codes(max_depth, levels, decode)
    found = quantisation(max_depth=max_depth, levels=levels, decode=decode)
    assert found.mean_error == pytest.approx(mean, rel=1e-9, abs=1e-12)
    assert found.largest_error == pytest.approx(largest, rel=1e-9, abs=1e-9)


@given(max_depth=st.floats(0.05, 100), levels=st.integers(2, 1024))
def test_the_integer_head_s_mean_error_counts_each_metre_by_its_length(max_depth, levels):
    top = levels - 1
    shares = interval_shares(0.0, max_depth)
    errors = [abs(round(whole / max_depth * top) / top * max_depth - whole) for whole in range(len(shares))]
    found = quantisation(max_depth=max_depth, levels=levels).integer
    assert found.mean_error == pytest.approx(sum(s * e for s, e in zip(shares, errors, strict=True)), rel=1e-9)
    assert found.largest_error == pytest.approx(max(errors), rel=1e-12)
