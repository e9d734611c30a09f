"""The reverse Huber loss."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import DepthTerm, Space, compared
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.term import Prediction


def berhu(
    predicted: Tensor, true: Tensor, mask: Tensor | None = None, *, threshold: float = 0.2, per_image: bool = False
) -> Tensor:
    """Reverse Huber loss, in the unit of the tensors: mean of |e| where |e| <= c, else (e^2 + c^2) / (2c).

    predicted, true: [B, 1, H, W]; e is their difference. mask: bool, the valid pixels; None for all. threshold: c as a
    share of the largest |e|, of each image (per_image) or of the batch; c has no gradient. Returns a scalar, 0 without
    a valid pixel. Source: Laina et al. 2016, eq. 2.
    """
    pixels = compared(predicted, true, mask)
    error = pixels.difference.abs()
    largest = error.detach().amax(dim=(1, 2, 3), keepdim=True)
    c = threshold * (largest if per_image else largest.amax())
    beyond = error > c  # nowhere if c is 0
    square = (error**2 + c**2) / torch.where(c > 0, 2 * c, 1)
    return masked_mean(torch.where(beyond, square, error), pixels.valid)


class BerHu(DepthTerm):
    """mean of |e| where |e| <= c, else (e^2 + c^2) / (2c), over valid pixels, in the unit of its space; e = x - y.

    threshold: c as a share of the largest |e|; c has no gradient. per_image: use the largest |e| of each image instead
    of the batch. Source: Laina et al. 2016, eq. 2.
    """

    def __init__(
        self,
        *,
        space: Space = "depth",
        threshold: Annotated[float, Field(gt=0, le=1)] = 0.2,
        per_image: bool = False,
    ) -> None:
        super().__init__(space=space)
        self.threshold = threshold
        self.per_image = per_image

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        return berhu(*self.compare(prediction, batch), threshold=self.threshold, per_image=self.per_image)
