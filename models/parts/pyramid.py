"""Common parts of the depth networks: a timm encoder, a decoder, and a convolution with a few outputs per pixel."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from weightsearch.models.parts.decoder import DecoderName, make_decoder
from weightsearch.models.parts.encoder import Encoder


class Pyramid(nn.Module):
    """encoder, weights, size: see Encoder. channels: of the light decoder's finest level. outputs: numbers a pixel.
    decoder: see `make_decoder`.

    `from_features` makes the network's named outputs of its encoder's features: where the encoder is frozen these are
    computed once.
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
        """features: the encoder's, finest first. size: height, width of the image in pixels."""
        raise NotImplementedError

    def logits(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """[B, outputs, height, width], in float32 from here on: half precision has steps of 4 mm at 8 m."""
        return at_size(self.heads(self.decoder(features)).float(), size)


def at_size(values: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, h, w] brought to height, width by bilinear interpolation."""
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    return interpolate(values, size=size, mode="bilinear", align_corners=False)
