"""Depth from one head (after DenseDepth), with a light decoder or one of its size."""

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
    """encoder, weights, size: see Encoder. decoder: `light`; `densedepth`, as wide as the encoder, or
    `densedepth_half`, half as wide: see DenseDepthDecoder. channels: of the light decoder's finest level, 16 unless
    given. resolution: of the output, that of the image or half of it. space: the space of the sigmoid head, which goes
    from min_depth to max_depth (metres) evenly in `depth`, in `reciprocal` depth or in its `log`.

    forward: colour in [0, 1], [B, 3, H, W] -> `depth` in metres, [B, 1, H, W] or, at half resolution, rounded up, [B,
    1, H / 2, W / 2]. Raises OptionError for channels of a decoder that has its own.
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
        if self.space == "reciprocal":  # a head of 0 is far away
            return {"depth": 1 / (1 / high + (1 / low - 1 / high) * share)}
        return {"depth": low * (math.log(high / low) * share).exp()}
