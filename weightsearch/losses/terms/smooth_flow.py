"""Smoothness of optical flow."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.losses.pairs import each_pair
from weightsearch.losses.smoothness import smoothness
from weightsearch.losses.term import Prediction


class SmoothFlow(nn.Module):
    """The edge-aware smoothness of the flow, pixels. sharpness: how strongly edges of the image allow edges of flow; 0
    ignores the image; 10 is usual for flow. order: 1 prefers constant flow; 2 prefers flow that changes linearly, like
    the flow of a plane. Source: Jonschkowski et al. 2020 for the second order."""

    needs_ground_truth: ClassVar = False

    def __init__(self, *, sharpness: Annotated[float, Field(ge=0)] = 10.0, order: Literal[1, 2] = 1) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.order = order

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        flow = prediction["flow"]
        image = each_pair(batch.image, flow.shape[1])
        steps = flow.flatten(0, 1)
        if self.order == 1:
            return smoothness(steps, image, self.sharpness)
        across, down = steps[..., 1:] - steps[..., :-1], steps[..., 1:, :] - steps[..., :-1, :]
        along_x = smoothness(across, image[..., 1:], self.sharpness)
        return (along_x + smoothness(down, image[..., 1:, :], self.sharpness)) / 2
