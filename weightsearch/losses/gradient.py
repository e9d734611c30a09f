"""Differences between neighbouring pixels."""

from __future__ import annotations

from torch import Tensor

Masked = tuple[Tensor, Tensor]


def forward_differences(values: Tensor, mask: Tensor) -> tuple[Masked, Masked]:
    """Differences along x and along y: the right (lower) neighbour minus the pixel, each with the mask of the pairs in
    which both pixels are valid. The values, [..., H, W], must be 0 outside the mask; so are the differences."""
    pairs_x, pairs_y = mask[..., 1:] & mask[..., :-1], mask[..., 1:, :] & mask[..., :-1, :]
    along_x = (values[..., 1:] - values[..., :-1]).masked_fill(~pairs_x, 0)
    along_y = (values[..., 1:, :] - values[..., :-1, :]).masked_fill(~pairs_y, 0)
    return (along_x, pairs_x), (along_y, pairs_y)


def sobel(values: Tensor, mask: Tensor) -> tuple[Masked, Masked]:
    """As `forward_differences`, by Sobel's 3 x 3 kernels over 8: a ramp of 1 per pixel gives 1. A pixel counts if all
    nine pixels of its window are valid. [..., H, W] -> [..., H - 2, W - 2]."""
    inside = mask[..., 2:] & mask[..., 1:-1] & mask[..., :-2]
    inside = inside[..., 2:, :] & inside[..., 1:-1, :] & inside[..., :-2, :]
    slope_x, slope_y = (values[..., 2:] - values[..., :-2]) / 2, (values[..., 2:, :] - values[..., :-2, :]) / 2
    along_x = (slope_x[..., 2:, :] + 2 * slope_x[..., 1:-1, :] + slope_x[..., :-2, :]) / 4
    along_y = (slope_y[..., 2:] + 2 * slope_y[..., 1:-1] + slope_y[..., :-2]) / 4
    return (along_x.masked_fill(~inside, 0), inside), (along_y.masked_fill(~inside, 0), inside)
