"""Edge-aware smoothness: the gradients of a map where the image has none."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weightsearch.losses.gradient import forward_differences
from weightsearch.losses.masked import masked_mean


def smoothness(values: Tensor, image: Tensor, sharpness: float) -> Tensor:
    """mean |dx v| exp(-sharpness |dx I|) + mean |dy v| exp(-sharpness |dy I|), in the unit of v, a scalar; the image's
    differences are averaged over its channels. values: v, [N, C, h, w]. image: I, RGB in [0, 1], [N, 3, H, W], averaged
    to the values' size. Source: Godard et al. 2017, eq. 3."""
    image = image.to(values.dtype)
    if image.shape[-2:] != values.shape[-2:]:
        image = interpolate(image, size=values.shape[-2:], mode="area")
    everywhere = torch.ones_like(values, dtype=torch.bool)
    total = torch.zeros((), dtype=values.dtype, device=values.device)
    of_values = forward_differences(values, everywhere)
    of_image = forward_differences(image, everywhere[:, :1].expand_as(image))
    for (along, pairs), (colour, _) in zip(of_values, of_image, strict=True):
        weight = torch.exp(-sharpness * colour.abs().mean(dim=1, keepdim=True))
        total = total + masked_mean(along.abs() * weight, pairs)
    return total
