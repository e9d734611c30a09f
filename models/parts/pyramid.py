"""Common parts of the depth networks: a timm encoder, a decoder, and a convolution with a few outputs per pixel."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from weightsearch.models.parts.decoder import DecoderName, make_decoder
from weightsearch.models.parts.encoder import Encoder


class Pyramid(nn.Module):
    """encoder, weights, size: see Encoder. channels: of the light decoder's finest level. outputs: number of values for
    each pixel. decoder: see `make_decoder`.

    `from_features` computes the network's named outputs from its encoder's features, which are computed once if the
    encoder is frozen.
    """

    def __init__(
        self,
        *,
        encoder: str,
        weights: str,
        channels: int,
        outputs: int,
        size: tuple[int, int] | None = None,
        decoder: DecoderName = "light",
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, weights, size)
        self.decoder = make_decoder(decoder, self.encoder.channels, channels, spread=self.encoder.flat)
        self.heads = nn.Conv2d(self.decoder.channels, outputs, 3, padding=1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self.from_features(self.encoder(image), (image.shape[-2], image.shape[-1]))

    def from_features(self, features: Sequence[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """The network's named outputs. features: of the encoder, finest first. size: height, width of the image in
        pixels."""
        raise NotImplementedError

    def logits(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """The head's outputs, [B, outputs, height, width], in float32: half precision has steps of 4 mm at 8 m."""
        return at_size(self.heads(self.decoder(features)).float(), size)


def at_size(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Values [B, C, h, w] resized to (height, width) by bilinear interpolation."""
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    return interpolate(values, size=size, mode="bilinear", align_corners=False)
