"""The error of depth gradients at several scales."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import DepthTerm, Space, compared
from weightsearch.losses.gradient import forward_differences
from weightsearch.losses.masked import sum_over_pixels
from weightsearch.losses.term import Prediction


def gradient_matching(predicted: Tensor, true: Tensor, mask: Tensor | None = None, *, scales: int = 4) -> Tensor:
    """Mean absolute gradient of the difference, along x and y, summed over scales; in the unit of the tensors.

    predicted, true: [B, 1, H, W], usually logarithms of depth. mask: bool, the valid pixels; None for all. scales:
    number of scales, each with every second row and column of the one before. Returns a scalar, 0 without a valid
    pixel. Sources: Li & Snavely 2018, eq. 4; Ranftl et al. 2022, eq. 11.
    """
    pixels = compared(predicted, true, mask)
    total = torch.zeros((), dtype=pixels.predicted.dtype, device=pixels.predicted.device)
    for scale in range(scales):
        step = 2**scale
        residual, valid = pixels.difference[..., ::step, ::step], pixels.valid[..., ::step, ::step]
        for along, pairs in forward_differences(residual, valid):
            total = total + sum_over_pixels(along.abs(), pairs, valid)
    return total


class GradientMatching(DepthTerm):
    """sum over scales s = 0 .. scales - 1 of (sum |dx R_s| + sum |dy R_s|) / valid pixels of R_s, in the unit of its
    space; R = x - y, R_s every 2^s-th of its rows and columns, dx and dy forward differences between valid pixels.

    scales: number of scales. Source: Li & Snavely 2018, eq. 4 (space `log`, four scales); Ranftl et al. 2022, eq. 11.
    """

    def __init__(self, *, space: Space = "log", scales: Annotated[int, Field(ge=1, le=8)] = 4) -> None:
        super().__init__(space=space)
        self.scales = scales

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        return gradient_matching(*self.compare(prediction, batch), scales=self.scales)
