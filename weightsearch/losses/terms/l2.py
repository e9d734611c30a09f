"""The mean squared error of depth."""

from __future__ import annotations

from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import DepthTerm, compared
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.term import Prediction


def l2(predicted: Tensor, true: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error, in the square of the tensors' unit.

    predicted, true: [B, 1, H, W]. mask: bool, the valid pixels; None for all. Returns a scalar, 0 without a valid
    pixel.
    """
    pixels = compared(predicted, true, mask)
    return masked_mean(pixels.difference**2, pixels.valid)


class L2(DepthTerm):
    """mean (x - y)^2 over valid pixels, in the square of its space's unit."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        return l2(*self.compare(prediction, batch))
