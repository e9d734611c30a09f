"""The photometric error by optical flow."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.pairs import warped
from weightsearch.losses.photometric_error import ALPHA
from weightsearch.losses.pixel_masks import FLOW_PIXELS, selected_by
from weightsearch.losses.term import Prediction


class PhotometricFlow(nn.Module):
    """mean of alpha clip((1 - SSIM) / 2, 0, 1) + (1 - alpha) |I - I'|, in [0, 1], where I' is the neighbour warped to
    the frame by the predicted flow, over the pixels that are inside the neighbour's image and in the mask of flow.

    alpha: share of SSIM in the photometric error. Sources: Jason et al. 2016; Yin & Shi 2018."""

    photometric: ClassVar = True
    needs_ground_truth: ClassVar = False

    def __init__(self, *, alpha: Annotated[float, Field(ge=0, le=1)] = ALPHA) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        through_flow = warped(prediction["flow"], batch, self.alpha)
        mask = selected_by(FLOW_PIXELS, prediction, through_flow.seen)
        return masked_mean(through_flow.error.masked_fill(~mask, 0), mask)
