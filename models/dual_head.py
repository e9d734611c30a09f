"""Depth as an integer and a fractional head (a PackNet-SfM variant made for 8-bit hardware)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from weightsearch.models.parts.encoder import EncoderName, EncoderWeights
from weightsearch.models.parts.pyramid import Pyramid


class DualHead(Pyramid):
    """Depth as an integer and a fractional head, decoded to one depth map.

    channels: channels at the decoder's finest level. max_depth: metres; depth reaches max_depth + 1. decode: `linear`,
    max_depth * integer + fractional; or `rounded`, with the integer part rounded to whole metres, which gives the
    integer head no gradient.

    forward: RGB in [0, 1], [B, 3, H, W] -> `integer` and `fractional`, the two heads' sigmoid outputs in [0, 1], and
    `depth` in metres, each [B, 1, H, W].
    """

    predicts: ClassVar = ("depth",)
    one_unit: ClassVar = True

    def __init__(
        self,
        *,
        encoder: EncoderName = "tf_efficientnet_lite0",
        weights: EncoderWeights = "none",
        channels: Annotated[int, Field(ge=1)] = 16,
        max_depth: Annotated[float, Field(gt=0)],
        decode: Literal["linear", "rounded"] = "linear",
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(encoder=encoder, weights=weights, channels=channels, outputs=2, size=size)
        self.max_depth = max_depth
        self.decode = decode

    def from_features(self, features: Sequence[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        integer, fractional = self.logits(features, size).sigmoid().chunk(2, dim=1)
        return self.outputs(integer, fractional)

    def quantised(self, prediction: dict[str, Tensor], bits: int) -> dict[str, Tensor]:
        """The outputs on hardware with a number of bits: each head rounded to 2^bits levels in [0, 1], then decoded."""
        steps = 2**bits - 1
        integer, fractional = ((prediction[name] * steps).round() / steps for name in ("integer", "fractional"))
        return self.outputs(integer, fractional)

    def outputs(self, integer: Tensor, fractional: Tensor) -> dict[str, Tensor]:
        depth = decode_depth(integer, fractional, max_depth=self.max_depth, rounded=self.decode == "rounded")
        return {"integer": integer, "fractional": fractional, "depth": depth}


def decode_depth(integer: Tensor, fractional: Tensor, *, max_depth: float, rounded: bool) -> Tensor:
    """Depth in metres, in [0, M + 1], from the two heads.

    linear: M * integer + fractional. rounded: round(M * integer) + fractional, exact if the integer head's error is
    less than 1 / (2 M), wrong by a metre or more otherwise; it has no gradient to the integer head.
    """
    whole = integer * max_depth
    return (whole.round() if rounded else whole) + fractional
