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


def image_means(values: Tensor, mask: Tensor) -> Tensor:
    """As `masked_mean`, of each image by itself, [B]."""
    return values.flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).clamp(min=1)


def mean_of_images(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of one value an image, [B], over the images that have a valid pixel, a scalar."""
    some = mask.flatten(1).any(dim=1)
    return (values * some).sum() / some.sum().clamp(min=1)


def safe_sqrt(values: Tensor) -> Tensor:
    """The square root, with gradient 0 instead of infinity where the value is 0."""
    zero = values == 0
    return values.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)
