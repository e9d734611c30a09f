"""Depth at several scales from a sigmoid disparity (Monodepth2's form, with a light decoder)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Final

import torch
from pydantic import Field
from torch import Tensor, nn

from weightsearch.errors import OptionError
from weightsearch.models.parts.encoder import EncoderName, EncoderWeights
from weightsearch.models.parts.pyramid import Pyramid, at_size

START: Final = 0.1  # initial scale of a head's weights over the usual one


class Disparity(Pyramid):
    """Depth at several scales from a sigmoid disparity: Monodepth2's form with a light decoder.

    channels: channels at the decoder's finest level. scales: number of depth scales. min_depth, max_depth: metres;
    disparity is 1/max + (1/min - 1/max) sigmoid, and a new network predicts depth near the geometric mean of both.

    forward: RGB in [0, 1], [B, 3, H, W] -> `depth` in metres, [B, 1, H, W], and `depth_2`, `depth_4`, `depth_8`,
    [B, 1, H / k, W / k] (rounded up), together `scales` outputs. Each has its own head on its own decoder level, whose
    output is resized: by 2 if the finest feature has half the image's size.
    Raises OptionError if the encoder has fewer features than `scales`. Source: Godard et al. 2019.
    """

    predicts: ClassVar = ("depth",)
    one_unit: ClassVar = True

    def __init__(
        self,
        *,
        encoder: EncoderName = "tf_efficientnet_lite0",
        weights: EncoderWeights = "none",
        channels: Annotated[int, Field(ge=1)] = 16,
        scales: Annotated[int, Field(ge=1, le=4)] = 3,
        min_depth: Annotated[float, Field(gt=0)],
        max_depth: Annotated[float, Field(gt=0)],
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(encoder=encoder, weights=weights, channels=channels, outputs=1, size=size)
        widths = self.decoder.widths
        if scales > len(widths):
            raise OptionError("scales", f"{encoder} has {len(widths)} features; {scales} scales need as many")
        if min_depth >= max_depth:
            raise OptionError("min_depth", f"{min_depth:g} must lie below max_depth {max_depth:g}")
        self.coarser = nn.ModuleList(nn.Conv2d(width, 1, 3, padding=1) for width in widths[1:scales])
        self.farthest = 1 / max_depth
        self.span = 1 / min_depth - 1 / max_depth
        self.start = math.sqrt(min_depth * max_depth)
        middle = (1 / self.start - self.farthest) / self.span
        for head in (self.heads, *self.coarser):
            # Start at the geometric mean: a sigmoid near 0 or 1 gets no gradient, and depth would not change.
            nn.init.constant_(head.bias, math.log(middle / (1 - middle)))
            with torch.no_grad():
                head.weight.mul_(START)

    def from_features(self, features: Sequence[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        levels = self.decoder.pyramid(features)
        outputs = {}
        for scale, (level, head) in enumerate(zip(levels, (self.heads, *self.coarser), strict=False)):
            divisor = 2**scale
            own = (math.ceil(size[0] / divisor), math.ceil(size[1] / divisor))
            share = at_size(head(level).float(), own).sigmoid()
            outputs["depth" if divisor == 1 else f"depth_{divisor}"] = 1 / (self.farthest + self.span * share)
        return outputs
