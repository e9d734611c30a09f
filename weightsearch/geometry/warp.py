"""Images warped by optical flow."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from weightsearch.geometry.camera import pixel_grid

OUTSIDE: Final = -2.0  # a coordinate outside the image, which spans -1 to 1


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """image(p + flow(p)) at every pixel p, bilinear; outside, the image's border is repeated. image: [B, C, H, W].
    flow: pixels (x, y), [B, 2, H, W]; where it is not finite it points out of the image and has no gradient."""
    grid = pixel_grid((flow.shape[-2], flow.shape[-1]), flow)
    return sample(image, (grid[:2] + flow).permute(0, 2, 3, 1))


def sample(image: Tensor, points: Tensor) -> Tensor:
    """The image at points, bilinear, [B, C, N, M]; outside, its border is repeated. image: [B, C, H, W]. points: pixels
    (x, y), [B, N, M, 2]; points that are not finite count as outside and have no gradient."""
    reach = torch.tensor([max(image.shape[-1] - 1, 1), max(image.shape[-2] - 1, 1)], dtype=points.dtype, device="cpu")
    # PyTorch's backward pass fails for NaN.
    grid = (2 * points / reach.to(points.device, non_blocking=True) - 1).nan_to_num(
        nan=OUTSIDE, posinf=2, neginf=OUTSIDE
    )
    return grid_sample(image, grid.to(image.dtype), mode="bilinear", padding_mode="border", align_corners=True)


def inside(flow: Tensor) -> Tensor:
    """The mask of the pixels that the flow keeps inside the image, [B, 1, H, W] bool."""
    size = (flow.shape[-2], flow.shape[-1])
    return within(pixel_grid(size, flow)[:2] + flow, size).unsqueeze(1)


def within(points: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask of the points inside an image, [B, ...] bool. points: pixels (x, y), [B, 2, ...]. size: the image's
    height and width."""
    height, width = size
    x, y = points.unbind(dim=1)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
