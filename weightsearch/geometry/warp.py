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
    grid = pixel_grid((flow.shape[-2], flow.shape[-1]), flow)
    return sample(image, (grid[:2] + flow).permute(0, 2, 3, 1))


def sample(image: Tensor, places: Tensor) -> Tensor:
    """The picture at places, bilinear, [B, C, N, M]; outside, its edge goes on. image: [B, C, H, W]. places: pixels
    (x, y), [B, N, M, 2]; where they are not finite they lie outside, and have no gradient."""
    reach = torch.tensor([max(image.shape[-1] - 1, 1), max(image.shape[-2] - 1, 1)], dtype=places.dtype, device="cpu")
    # PyTorch's own backward pass does not survive NaN.
    grid = (2 * places / reach.to(places.device, non_blocking=True) - 1).nan_to_num(
        nan=OUTSIDE, posinf=2, neginf=OUTSIDE
    )
    return grid_sample(image, grid.to(image.dtype), mode="bilinear", padding_mode="border", align_corners=True)


def inside(flow: Tensor) -> Tensor:
    """The pixels whose place after the flow lies in the picture, [B, 1, H, W] bool."""
    size = (flow.shape[-2], flow.shape[-1])
    return within(pixel_grid(size, flow)[:2] + flow, size).unsqueeze(1)


def within(places: Tensor, size: tuple[int, int]) -> Tensor:
    """Which places lie in a picture of this height and width, [B, ...] bool. places: pixels (x, y), [B, 2, ...]."""
    height, width = size
    x, y = places.unbind(dim=1)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
