"""The photometric error by optical flow."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.pairs import warped
from weightsearch.losses.photometric_error import ALPHA
from weightsearch.losses.pixel_masks import FLOW_PIXELS, kept_by
from weightsearch.losses.term import Prediction


class PhotometricFlow(nn.Module):
    """mean of alpha clip((1 - SSIM) / 2, 0, 1) + (1 - alpha) |I - I'|, in [0, 1], where I' is the frame as a neighbour
    shows it through the predicted flow, over the pixels that lie in the neighbour's picture and that the mask gives
    to flow.

    alpha: share of SSIM in the photometric error. Sources: Jason et al. 2016; Yin & Shi 2018."""

    photometric: ClassVar = True
    needs_ground_truth: ClassVar = False

    def __init__(self, *, alpha: Annotated[float, Field(ge=0, le=1)] = ALPHA) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        found = warped(prediction["flow"], batch, self.alpha)
        kept = kept_by(FLOW_PIXELS, prediction, found.seen)
        return masked_mean(found.error.masked_fill(~kept, 0), kept)
