"""The scale-invariant logarithmic loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.depth_term import DepthTerm
from weightsearch.losses.masked import image_means, masked_mean, mean_of_images, safe_sqrt
from weightsearch.losses.term import Prediction


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
        compared = self.compare(prediction, batch)
        d, valid = compared.difference, compared.valid
        if self.per_image:
            return self.scale * mean_of_images(self._form(*self._moments(d, valid)), valid)
        mean = masked_mean(d, valid)
        centred = (d - mean).masked_fill(~valid, 0)
        return self.scale * self._form(masked_mean(centred**2, valid), mean)

    @staticmethod
    def _moments(d: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Variance and mean of each image, [B]."""
        mean = image_means(d, valid)
        centred = (d - mean[:, None, None, None]).masked_fill(~valid, 0)
        return image_means(centred**2, valid), mean

    def _form(self, variance: Tensor, mean: Tensor) -> Tensor:
        """Written with the variance: the difference of two large means would turn negative in float32."""
        q = variance + (1 - self.variance_focus) * mean**2
        return safe_sqrt(q) if self.form == "sqrt" else q
