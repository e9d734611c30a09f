"""Visibility of pixels in both images, by the consistency of forward and backward flow."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from weightsearch.geometry.warp import inside, warp

RELATIVE: Final = 0.01
ABSOLUTE: Final = 0.5  # square pixels


def visible(flow: Tensor, backward: Tensor) -> Tensor:
    """The mask of the pixels whose forward flow f and backward flow b cancel, [B, 1, H, W] bool:
    |f + b|² < .01 (|f|² + |b|²) + .5, with b at p + f(p), which must be inside the image. flow, backward: pixels,
    [B, 2, H, W]. Source: Meister et al. 2018, eq. 1."""
    back = warp(backward, flow)
    gap = ((flow + back) ** 2).sum(dim=1, keepdim=True)
    size = (flow**2).sum(dim=1, keepdim=True) + (back**2).sum(dim=1, keepdim=True)
    return (gap < RELATIVE * size + ABSOLUTE) & inside(flow)
