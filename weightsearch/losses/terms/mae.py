"""The mean absolute error of depth."""

from __future__ import annotations

from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import DepthTerm, compared
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.term import Prediction


def mae(predicted: Tensor, true: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute error, in the unit of the tensors.

    predicted, true: [B, 1, H, W]. mask: bool, the valid pixels; None for all. Returns a scalar, 0 without a valid
    pixel.
    """
    pixels = compared(predicted, true, mask)
    return masked_mean(pixels.difference.abs(), pixels.valid)


class MAE(DepthTerm):
    """mean |x - y| over valid pixels, in the unit of its space; x, y: predicted and true depth in that space."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        return mae(*self.compare(prediction, batch))
