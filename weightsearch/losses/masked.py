"""Differences and means over valid pixels."""

from __future__ import annotations

from torch import Tensor


def masked_difference(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """prediction - target where the mask holds, else 0, in their unit. What lies outside the mask has no influence on
    value or gradient, whatever it is (NaN and infinity too)."""
    return (prediction - target).masked_fill(~mask, 0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The sum of the values over the number of valid pixels, a scalar. The values must be 0 outside the mask. Without a
    valid pixel the mean is 0, attached to the graph, and so is its gradient."""
    return values.sum() / mask.sum().clamp(min=1)
