"""The error of depth gradients."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal

from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import DepthTerm, Space, compared
from weightsearch.losses.gradient import forward_differences, sobel
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.term import Prediction

Operator = Literal["forward", "sobel"]
OPERATORS: Final = MappingProxyType({"forward": forward_differences, "sobel": sobel})


def edge(predicted: Tensor, true: Tensor, mask: Tensor | None = None, *, operator: Operator = "forward") -> Tensor:
    """Mean absolute difference of the gradients along x plus that along y, in the unit of the tensors per pixel.

    predicted, true: [B, 1, H, W]. mask: bool, the valid pixels; None for all. operator: `forward` differences, or
    `sobel` (its 3 x 3 kernels over 8). Returns a scalar, 0 without a valid pixel. Source: Alhashim & Wonka 2018, eq. 3.
    """
    pixels = compared(predicted, true, mask)
    # Both are linear: the gradients' difference is the difference's gradient.
    along_x, along_y = OPERATORS[operator](pixels.difference, pixels.valid)
    return masked_mean(along_x[0].abs(), along_x[1]) + masked_mean(along_y[0].abs(), along_y[1])


class Edge(DepthTerm):
    """mean |dx - dx'| + mean |dy - dy'|, dx, dx' the predicted and the true gradient along x, in the unit of its space
    per pixel, over the gradients whose pixels are all valid.

    operator: `forward` differences, or `sobel` (its 3 x 3 kernels over 8). Source: Alhashim & Wonka 2018, eq. 3.
    """

    def __init__(self, *, space: Space = "depth", operator: Operator = "forward") -> None:
        super().__init__(space=space)
        self.operator = operator

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        return edge(*self.compare(prediction, batch), operator=self.operator)
