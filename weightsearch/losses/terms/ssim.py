"""The structural similarity of depth maps."""

from __future__ import annotations

import math
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.errors import OptionError
from weightsearch.losses.depth_term import Compared, DepthTerm, Space, compared, span
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.term import Prediction

K1: Final = 0.01
K2: Final = 0.03
LARGEST_SPAN: Final = 1000.0  # max_depth / min_depth up to which 1 / min_depth is a useful dynamic range


def ssim(
    predicted: Tensor,
    true: Tensor,
    mask: Tensor | None = None,
    *,
    dynamic_range: float,
    window: int = 11,
    sigma: float = 1.5,
    halved: bool = True,
) -> Tensor:
    """Mean of clip((1 - SSIM) / 2, 0, 1), or with halved=False of 1 - SSIM; dimensionless.

    predicted, true: [B, 1, H, W], in any unit. mask: bool, the valid pixels; None for all. dynamic_range: L in
    C1 = (.01 L)^2, C2 = (.03 L)^2, in the unit of the tensors. window, sigma: size and standard deviation of the
    Gaussian window, pixels; SSIM is taken where the window lies inside the image, over the window's valid pixels.
    Returns a scalar, 0 without a valid pixel. Raises ValueError if the window does not fit into the image. Source: Wang
    et al. 2004, eq. 13.
    """
    pixels = compared(predicted, true, mask)
    if min(true.shape[-2:]) < window:
        raise ValueError(f"window: {window} pixels do not fit into a depth map of {true.shape[-2]}x{true.shape[-1]}")
    similarity, counted = _similarity(pixels, dynamic_range, window, sigma)
    loss = ((1 - similarity) / 2).clamp(0, 1) if halved else 1 - similarity
    return masked_mean(loss * counted, counted)


def _similarity(pixels: Compared, dynamic_range: float, window: int, sigma: float) -> tuple[Tensor, Tensor]:
    """SSIM, [B, 1, H - window + 1, W - window + 1], and the mask of its valid centres."""
    x, y, valid = pixels
    mask = valid.to(x.dtype)
    c1, c2 = (K1 * dynamic_range) ** 2, (K2 * dynamic_range) ** 2
    edge = (window - 1) // 2
    # Centred at each image's mean, so that rounding of large squares does not hide the variances.
    centre = y.sum(dim=(2, 3), keepdim=True) / mask.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    u, v = (x - centre) * mask, (y - centre) * mask
    weight, *sums = _blur(torch.cat([mask, u, v, u * u, v * v, u * v], dim=1), window, sigma).chunk(6, dim=1)
    height, width = weight.shape[-2:]
    counted = valid[..., edge : edge + height, edge : edge + width]
    mean_u, mean_v, square_u, square_v, product = (sum_ / torch.where(counted, weight, 1) for sum_ in sums)
    variances = (square_u - mean_u**2).clamp(min=0) + (square_v - mean_v**2).clamp(min=0)
    covariance = product - mean_u * mean_v
    mean_x, mean_y = mean_u + centre, mean_v + centre
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance * (2 * covariance + c2) / (variances + c2), counted


def _blur(values: Tensor, window: int, sigma: float) -> Tensor:
    """Blur by the Gaussian window, without padding. It sums slices, since a convolution may be rounded to ten bits on a
    GPU."""
    bell = [math.exp(-((offset - (window - 1) / 2) ** 2) / (2 * sigma**2)) for offset in range(window)]
    for axis in (-1, -2):
        length = values.shape[axis] - window + 1
        parts = (factor / sum(bell) * values.narrow(axis, offset, length) for offset, factor in enumerate(bell))
        values = sum(parts, start=torch.zeros((), dtype=values.dtype, device=values.device))
    return values


class SSIM(DepthTerm):
    """mean of clip((1 - SSIM) / 2, 0, 1), or with halved: false of 1 - SSIM, over valid pixels; dimensionless.

    SSIM is taken in a Gaussian window at every pixel whose window lies inside the image; only valid pixels of the
    window count. In space `log` it uses ln(depth / min_depth), which starts at 0 and does not depend on the unit.

    window: width and height of the window in pixels. sigma: standard deviation of the Gaussian in pixels. halved:
    divide 1 - SSIM by 2. dynamic_range: L in C1 = (.01 L)^2, C2 = (.03 L)^2, in the unit of the space; null for the
    largest value there (max_depth, 1 / min_depth, ln(max_depth / min_depth)). If it is much larger than the values of
    the data, the term is about 0: with reciprocal depth it must be given if max_depth is more than 1000 times
    min_depth. Sources: Wang et al. 2004, eq. 13; Alhashim & Wonka 2018, eq. 4.
    """

    def __init__(
        self,
        *,
        space: Space = "depth",
        window: Annotated[int, Field(ge=3, le=63)] = 11,
        sigma: Annotated[float, Field(ge=0.1)] = 1.5,
        dynamic_range: Annotated[float, Field(gt=0)] | None = None,
        halved: bool = True,
        min_depth: Annotated[float, Field(gt=0)],
        max_depth: Annotated[float, Field(gt=0)],
    ) -> None:
        super().__init__(space=space)
        if space == "reciprocal" and dynamic_range is None and max_depth / min_depth > LARGEST_SPAN:
            raise OptionError(
                "dynamic_range",
                f"must be given: 1 / min_depth, {1 / min_depth:g} 1/m, is far more than the reciprocal depths seen, "
                "and the term would be about 0",
            )
        self.zero = math.log(min_depth) if space == "log" else 0.0
        self.reach = dynamic_range or span(space, min_depth, max_depth)
        self.window = window
        self.sigma = sigma
        self.halved = halved

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        pixels = self.compare(prediction, batch)
        if min(pixels.valid.shape[-2:]) < self.window:
            height, width = pixels.valid.shape[-2:]
            raise OptionError("window", f"{self.window} pixels do not fit into a depth map of {height}x{width}")
        return ssim(
            pixels.predicted - self.zero,
            pixels.true - self.zero,
            pixels.valid,
            dynamic_range=self.reach,
            window=self.window,
            sigma=self.sigma,
            halved=self.halved,
        )
