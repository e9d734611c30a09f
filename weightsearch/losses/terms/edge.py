"""The error of depth's edges."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import DepthTerm, Space
from weightsearch.losses.gradient import forward_differences, sobel
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.term import Prediction


class Edge(DepthTerm):
    """mean |dx - dx'| + mean |dy - dy'|, dx, dx' the predicted and the true gradient along x, in the unit of its space
    per pixel, over what lies within valid pixels.

    operator: `forward` differences, or `sobel` (its 3 x 3 kernels over 8). Source: Alhashim & Wonka 2018, eq. 3.
    """

    def __init__(self, *, space: Space = "depth", operator: Literal["forward", "sobel"] = "forward") -> None:
        super().__init__(space=space)
        self.gradient = {"forward": forward_differences, "sobel": sobel}[operator]

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        compared = self.compare(prediction, batch)
        # Both are linear: the gradients' difference is the difference's gradient.
        along_x, along_y = self.gradient(compared.difference, compared.valid)
        return masked_mean(along_x[0].abs(), along_x[1]) + masked_mean(along_y[0].abs(), along_y[1])
