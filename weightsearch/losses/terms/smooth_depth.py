"""Smoothness of disparity at every scale."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import FLOOR
from weightsearch.losses.scales import depth_scales
from weightsearch.losses.smoothness import smoothness
from weightsearch.losses.term import Prediction


class SmoothDepth(nn.Module):
    """mean over the scales of the edge-aware smoothness of disparity, divided by 2^scale, dimensionless. Disparity is
    1 / depth over its mean in the image. sharpness: how strongly edges of the image allow edges of disparity; 0 ignores
    the image. Source: Godard et al. 2019."""

    needs_ground_truth: ClassVar = False

    def __init__(self, *, sharpness: Annotated[float, Field(ge=0)] = 1.0) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        of_scales = []
        for scale, depth in enumerate(depth_scales(prediction)):
            disparity = depth.clamp(min=FLOOR).reciprocal()
            relative = disparity / disparity.mean(dim=(2, 3), keepdim=True)
            of_scales.append(smoothness(relative, batch.image, self.sharpness) / 2**scale)
        return torch.stack(of_scales).mean()
