"""The fractional head's L1 error."""

from __future__ import annotations

from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import truth_at
from weightsearch.losses.masked import masked_difference, masked_mean
from weightsearch.losses.term import Prediction


class Fractional(nn.Module):
    """mean |s_fractional - (y - floor(y))| over valid pixels, metres. Its target jumps by a metre at whole metres.

    Reads prediction["fractional"], [B, 1, H, W] in [0, 1]. Source: the dual-head variant of PackNet-SfM.
    """

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        head = prediction["fractional"]
        depth, valid = truth_at(batch, head)
        return masked_mean(masked_difference(head, depth - depth.floor(), valid).abs(), valid)
