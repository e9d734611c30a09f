"""Smoothness of depth where the image is smooth."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import FLOOR, Space, in_space
from weightsearch.losses.smoothness import smoothness
from weightsearch.losses.term import Prediction


def edge_aware_smoothness(values: Tensor, image: Tensor, *, sharpness: float = 1.0) -> Tensor:
    """Mean |dx v| exp(-sharpness |dx I|) plus the same along y, in the unit of v.

    values: v, [B, 1, h, w], usually disparity over its mean. image: I, RGB in [0, 1], [B, 3, H, W]. sharpness: how
    strongly edges of the image allow edges of v; 0 ignores the image. Returns a scalar. Source: Godard et al. 2017,
    eq. 3.
    """
    return smoothness(values, image, sharpness)


class EdgeAwareSmoothness(nn.Module):
    """mean |dx v| exp(-sharpness |dx I|) + mean |dy v| exp(-sharpness |dy I|) over all pixels, valid or not: it needs
    no ground truth. I: RGB in [0, 1], differences averaged over the channels.

    v is the predicted depth in its space; in `reciprocal` and `depth` it is divided by the image's mean (at least
    1e-3), so that a smaller prediction does not reduce the loss; dimensionless. Sources: Godard et al. 2017, eq. 3;
    Wang et al. 2018 for the division.

    sharpness: how strongly edges of the image allow edges of depth; 0 ignores the image.
    """

    needs_ground_truth: ClassVar = False

    def __init__(self, *, space: Space = "reciprocal", sharpness: Annotated[float, Field(ge=0)] = 1.0) -> None:
        super().__init__()
        self.space = space
        self.sharpness = sharpness

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        depth = prediction["depth"]
        everywhere = torch.ones_like(depth, dtype=torch.bool)
        value = in_space(depth.to(torch.promote_types(depth.dtype, torch.float32)), everywhere, self.space)
        if self.space != "log":
            value = value / value.mean(dim=(2, 3), keepdim=True).clamp(min=FLOOR)
        return edge_aware_smoothness(value, batch.image, sharpness=self.sharpness)
