"""The decoded depth's L1 error."""

from __future__ import annotations

from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.losses.masked import masked_difference, masked_mean
from weightsearch.losses.term import Prediction


class Consistency(nn.Module):
    """mean |depth - y| over valid pixels, metres: ties the two heads together through the decoded depth.

    Reads prediction["depth"], metres, [B, 1, H, W]. Source: the dual-head variant of PackNet-SfM.
    """

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        return masked_mean(masked_difference(prediction["depth"], batch.depth, batch.valid).abs(), batch.valid)
