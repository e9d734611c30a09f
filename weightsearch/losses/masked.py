"""Differences and means over valid pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_counts: ContextVar[list[Tensor] | None] = ContextVar("pixels that masked means were taken over", default=None)


@contextmanager
def counted_pixels() -> Iterator[list[Tensor]]:
    """A context in which every masked mean adds the number of its valid pixels, a scalar, to the list. Does not wait
    for the device."""
    counts: list[Tensor] = []
    token = _counts.set(counts)
    try:
        yield counts
    finally:
        _counts.reset(token)


def _count(mask: Tensor) -> Tensor:
    pixels = mask.sum()
    if (counts := _counts.get()) is not None:
        counts.append(pixels)
    return pixels


def masked_difference(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """prediction - target inside the mask, else 0, in their unit. Pixels outside the mask do not influence value or
    gradient, even if they are NaN or infinite."""
    return (prediction - target).masked_fill(~mask, 0)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The sum of the values over the number of valid pixels, a scalar. The values must be 0 outside the mask. Without a
    valid pixel, mean and gradient are 0, and the mean is attached to the graph; `counted_pixels` distinguishes it from
    a mean that is 0."""
    return values.sum() / _count(mask).clamp(min=1)


def sum_over_pixels(values: Tensor, part: Tensor, mask: Tensor) -> Tensor:
    """The sum of the values over the number of pixels in `mask`, a scalar. The values must be 0 outside `part`;
    `counted_pixels` gets the number of pixels in `part`."""
    _count(part)
    return values.sum() / mask.sum().clamp(min=1)


def mean_of_means(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The mean, over the parts that have a valid pixel, of each part's masked mean, a scalar. parts: values and mask,
    as `masked_mean` takes them."""
    means = torch.stack([masked_mean(values, mask) for values, mask in parts])
    some = torch.stack([mask.any() for _, mask in parts])
    return means.sum() / some.sum().clamp(min=1)


def image_means(values: Tensor, mask: Tensor) -> Tensor:
    """As `masked_mean`, for each image separately, [B]."""
    return values.flatten(1).sum(dim=1) / mask.flatten(1).sum(dim=1).clamp(min=1)


def mean_of_images(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of per-image values, [B], over the images that have a valid pixel, a scalar."""
    _count(mask)
    some = mask.flatten(1).any(dim=1)
    return (values * some).sum() / some.sum().clamp(min=1)


def safe_sqrt(values: Tensor) -> Tensor:
    """The square root, with gradient 0 instead of infinity where the value is 0."""
    zero = values == 0
    return values.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)
