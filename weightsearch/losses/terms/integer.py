"""The integer head's L1 error."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import truth_at
from weightsearch.losses.masked import masked_difference, masked_mean
from weightsearch.losses.term import Prediction


class Integer(nn.Module):
    """mean |s_integer - floor(y) / M| over valid pixels, dimensionless (1 is M metres). max_depth: M in metres.

    Reads prediction["integer"], [B, 1, H, W] in [0, 1]. Source: the dual-head variant of PackNet-SfM.
    """

    def __init__(self, *, max_depth: Annotated[float, Field(gt=0)]) -> None:
        super().__init__()
        self.max_depth = max_depth

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        head = prediction["integer"]
        depth, valid = truth_at(batch, head)
        return masked_mean(masked_difference(head, depth.floor() / self.max_depth, valid).abs(), valid)
