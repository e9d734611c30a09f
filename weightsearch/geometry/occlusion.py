"""Which pixels are seen in both pictures, by their flow there and back."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from weightsearch.geometry.warp import inside, warp

RELATIVE: Final = 0.01
ABSOLUTE: Final = 0.5  # square pixels


def visible(flow: Tensor, backward: Tensor) -> Tensor:
    """The pixels that come back to where they left, [B, 1, H, W] bool: |f + b|² < .01 (|f|² + |b|²) + .5, b taken where
    f leads, which must be in the picture. flow, backward: pixels, [B, 2, H, W]. Source: Meister et al. 2018, eq. 1."""
    back = warp(backward, flow)
    gap = ((flow + back) ** 2).sum(dim=1, keepdim=True)
    size = (flow**2).sum(dim=1, keepdim=True) + (back**2).sum(dim=1, keepdim=True)
    return (gap < RELATIVE * size + ABSOLUTE) & inside(flow)
