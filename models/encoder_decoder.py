"""Depth from one head (after DenseDepth), with a light decoder or one of DenseDepth's size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from weightsearch.errors import OptionError
from weightsearch.models.parts.decoder import CHANNELS, DecoderName
from weightsearch.models.parts.encoder import EncoderName, EncoderWeights
from weightsearch.models.parts.pyramid import Pyramid


class EncoderDecoder(Pyramid):
    """Depth from one head, as in DenseDepth.

    decoder: `light`; `densedepth`, as wide as the encoder; or `densedepth_half`, half as wide. channels: channels at
    the light decoder's finest level (default 16). resolution: size of the output, `full` as the image or `half` of it.
    space: the space in which the sigmoid head is linear between min_depth and max_depth (metres): `depth`, `reciprocal`
    depth or its `log`.

    forward: RGB in [0, 1], [B, 3, H, W] -> `depth` in metres, [B, 1, H, W] or, at half resolution, rounded up,
    [B, 1, H / 2, W / 2]. Raises OptionError for channels with a decoder whose width depends on the encoder.
    """

    predicts: ClassVar = ("depth",)
    one_unit: ClassVar = True

    def __init__(
        self,
        *,
        encoder: EncoderName = "tf_efficientnet_lite0",
        weights: EncoderWeights = "none",
        decoder: DecoderName = "light",
        channels: Annotated[int, Field(ge=1)] | None = None,
        resolution: Literal["full", "half"] = "full",
        space: Literal["depth", "reciprocal", "log"] = "depth",
        min_depth: Annotated[float, Field(gt=0)],
        max_depth: Annotated[float, Field(gt=0)],
        size: tuple[int, int] | None = None,
    ) -> None:
        if decoder != "light" and channels is not None:
            raise OptionError(
                "channels",
                f"found {channels}; the decoder {decoder!r} takes its width from the encoder: leave channels out, or "
                "choose model.decoder: light",
            )
        super().__init__(
            encoder=encoder, weights=weights, channels=channels or CHANNELS, outputs=1, size=size, decoder=decoder
        )
        self.divisor = {"full": 1, "half": 2}[resolution]
        self.space = space
        self.min_depth = min_depth
        self.max_depth = max_depth

    def from_features(self, features: Sequence[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        height, width = (math.ceil(side / self.divisor) for side in size)
        share = self.logits(features, (height, width)).sigmoid()
        low, high = self.min_depth, self.max_depth
        if self.space == "depth":
            return {"depth": low + (high - low) * share}
        if self.space == "reciprocal":  # 0 is the largest depth
            return {"depth": 1 / (1 / high + (1 / low - 1 / high) * share)}
        return {"depth": low * (math.log(high / low) * share).exp()}
