"""The photometric error of two images at each pixel."""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.nn.functional import pad

ALPHA: Final = 0.85
C1: Final = 1e-4
C2: Final = 9e-4


def photometric_error(image: Tensor, other: Tensor, alpha: float) -> Tensor:
    """alpha clip((1 - SSIM) / 2, 0, 1) + (1 - alpha) |A - B|, means over the channels, in [0, 1], [N, 1, H, W]. SSIM
    has windows of 3 x 3 pixels and reflection padding. image, other: RGB in [0, 1], [N, 3, H, W]. Sources: Godard et
    al. 2017, eq. 2; 2019 for the constants."""
    absolute = (image - other).abs().mean(dim=1, keepdim=True)
    if alpha == 0:
        return absolute
    return alpha * _dissimilarity(image, other).mean(dim=1, keepdim=True) + (1 - alpha) * absolute


def _dissimilarity(image: Tensor, other: Tensor) -> Tensor:
    """clip((1 - SSIM) / 2, 0, 1) of each channel."""
    x, y = (pad(picture, (1, 1, 1, 1), mode="reflect") for picture in (image, other))
    mean_x, mean_y = _mean_of_9(x), _mean_of_9(y)
    variances = _mean_of_9(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = _mean_of_9(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    similarity = similarity / ((mean_x**2 + mean_y**2 + C1) * (variances + C2))
    return ((1 - similarity) / 2).clamp(0, 1)


def _mean_of_9(values: Tensor) -> Tensor:
    """Means over windows of 3 x 3 pixels. On a CPU sums of shifted images are much faster than avg_pool2d."""
    rows = values[..., :-2] + values[..., 1:-1] + values[..., 2:]
    mean: Tensor = (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 9
    return mean
