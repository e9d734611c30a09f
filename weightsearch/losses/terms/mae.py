"""The mean absolute error of depth."""

from __future__ import annotations

from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import DepthTerm
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.term import Prediction


class MAE(DepthTerm):
    """mean |x - y| over valid pixels, in the unit of its space; x, y: predicted and true depth in that space."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        compared = self.compare(prediction, batch)
        return masked_mean(compared.difference.abs(), compared.valid)
