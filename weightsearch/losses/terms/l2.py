"""The mean squared error of depth."""

from __future__ import annotations

from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import DepthTerm
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.term import Prediction


class L2(DepthTerm):
    """mean (x - y)^2 over valid pixels, in the square of its space's unit."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        compared = self.compare(prediction, batch)
        return masked_mean(compared.difference**2, compared.valid)
