"""The scale-invariant logarithmic loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import DepthTerm, compared, in_space
from weightsearch.losses.masked import image_means, masked_mean, mean_of_images, safe_sqrt
from weightsearch.losses.term import Prediction


def silog(
    predicted: Tensor,
    true: Tensor,
    mask: Tensor | None = None,
    *,
    variance_focus: float = 0.85,
    form: Literal["squared", "sqrt"] = "sqrt",
    scale: float = 1.0,
    per_image: bool = False,
) -> Tensor:
    """Scale-invariant logarithmic loss of depth maps, dimensionless; the options are those of SILog.

    predicted, true: depth in metres, [B, 1, H, W]; predictions below 1 mm count as 1 mm and keep their gradient. mask:
    bool, the valid pixels; None for all. Returns a scalar, 0 without a valid pixel. Sources: Eigen et al. 2014, eq. 4;
    Lee et al. 2019.
    """
    pixels = compared(predicted, true, mask)
    d = in_space(pixels.predicted, pixels.valid, "log") - in_space(pixels.true, pixels.valid, "log")
    return silog_of_logarithms(d, pixels.valid, variance_focus, form, scale, per_image=per_image)


def silog_of_logarithms(
    d: Tensor, valid: Tensor, variance_focus: float, form: Literal["squared", "sqrt"], scale: float, *, per_image: bool
) -> Tensor:
    """As `silog`. d: ln(predicted) - ln(true), 0 outside the mask."""
    if per_image:
        mean = image_means(d, valid)
        centred = (d - mean[:, None, None, None]).masked_fill(~valid, 0)
        variance = image_means(centred**2, valid)
    else:
        mean = masked_mean(d, valid)
        centred = (d - mean).masked_fill(~valid, 0)
        variance = masked_mean(centred**2, valid)
    # In terms of the variance: the difference of two large means could become negative in float32.
    q = variance + (1 - variance_focus) * mean**2
    value = safe_sqrt(q) if form == "sqrt" else q
    return scale * (mean_of_images(value, valid) if per_image else value)


class SILog(DepthTerm):
    """scale * Q, or with form `sqrt` scale * sqrt(Q); Q = mean(d^2) - variance_focus * mean(d)^2, d = ln x - ln y over
    valid pixels; dimensionless.

    form: `squared` is Q, `sqrt` its root. scale: factor of the term. variance_focus: 0 is the mean squared logarithmic
    error, 1 ignores a common factor of the prediction. per_image: the mean of each image's value; else all valid pixels
    of the batch are pooled, which lets a factor of one image count even at variance_focus 1. Sources: Eigen et al.
    2014, eq. 4 (squared, .5); Lee et al. 2019 (sqrt, .85, scale 10).
    """

    def __init__(
        self,
        *,
        variance_focus: Annotated[float, Field(ge=0, le=1)] = 0.85,
        form: Literal["squared", "sqrt"] = "sqrt",
        scale: Annotated[float, Field(gt=0)] = 1.0,
        per_image: bool = False,
    ) -> None:
        super().__init__(space="log")
        self.variance_focus = variance_focus
        self.form = form
        self.scale = scale
        self.per_image = per_image

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        pixels = self.compare(prediction, batch)
        return silog_of_logarithms(
            pixels.difference, pixels.valid, self.variance_focus, self.form, self.scale, per_image=self.per_image
        )
