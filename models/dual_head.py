"""Depth as an integer and a fractional head (a PackNet-SfM variant made for 8-bit hardware)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from weightsearch.models.decoder import Decoder
from weightsearch.models.encoder import Encoder, EncoderName, EncoderWeights


class DualHead(nn.Module):
    """encoder, weights: see Encoder. channels: of the decoder's finest level. max_depth: M in metres.
    decode: see `decode_depth`.

    forward: colour in [0, 1], [B, 3, H, W] -> `integer` and `fractional`, the two heads' sigmoid outputs in [0, 1], and
    `depth` in metres, each [B, 1, H, W].
    """

    def __init__(
        self,
        *,
        encoder: EncoderName = "tf_efficientnet_lite0",
        weights: EncoderWeights = "none",
        channels: Annotated[int, Field(ge=1)] = 16,
        max_depth: Annotated[float, Field(gt=0)],
        decode: Literal["linear", "rounded"] = "linear",
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, weights)
        self.decoder = Decoder(self.encoder.channels, channels)
        self.heads = nn.Conv2d(self.decoder.channels, 2, 3, padding=1)
        self.max_depth = max_depth
        self.decode = decode

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        logits = self.heads(self.decoder(self.encoder(image)))
        # In float32 from here on: half precision has steps of 4 mm at 8 m.
        logits = interpolate(logits.float(), size=image.shape[-2:], mode="bilinear", align_corners=False)
        integer, fractional = logits.sigmoid().chunk(2, dim=1)
        depth = decode_depth(integer, fractional, max_depth=self.max_depth, rounded=self.decode == "rounded")
        return {"integer": integer, "fractional": fractional, "depth": depth}


def decode_depth(integer: Tensor, fractional: Tensor, *, max_depth: float, rounded: bool) -> Tensor:
    """Depth in metres, in [0, M + 1], from the two heads.

    linear: M * integer + fractional. rounded: round(M * integer) + fractional, exact while the integer head errs by
    less than 1 / (2 M) and off by a metre or more beyond; no gradient reaches the integer head through it.
    """
    whole = integer * max_depth
    return (whole.round() if rounded else whole) + fractional
