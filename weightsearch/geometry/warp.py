"""Pictures seen through a flow."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from weightsearch.geometry.camera import pixel_grid

OUTSIDE: Final = -2.0  # of a picture from -1 to 1


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """image(p + flow(p)) at every pixel p, bilinear; outside, the picture's edge goes on. image: [B, C, H, W]. flow:
    pixels (x, y), [B, 2, H, W]; where it is not finite it leads out of the picture, and has no gradient."""
    height, width = flow.shape[-2:]
    places = (pixel_grid((height, width), flow)[:2] + flow).permute(0, 2, 3, 1)
    reach = torch.tensor([max(width - 1, 1), max(height - 1, 1)], dtype=flow.dtype, device="cpu")
    # PyTorch's own backward pass does not survive NaN.
    grid = (2 * places / reach.to(flow.device, non_blocking=True) - 1).nan_to_num(nan=OUTSIDE, posinf=2, neginf=OUTSIDE)
    return grid_sample(image, grid.to(image.dtype), mode="bilinear", padding_mode="border", align_corners=True)


def inside(flow: Tensor) -> Tensor:
    """The pixels whose place after the flow lies in the picture, [B, 1, H, W] bool."""
    height, width = flow.shape[-2:]
    x, y = (pixel_grid((height, width), flow)[:2] + flow).unbind(dim=1)
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).unsqueeze(1)
