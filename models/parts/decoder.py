"""Decoders: bilinear upsampling, skip connections and two convolutions a level; light, or of DenseDepth's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

DecoderName = Literal["light", "densedepth", "densedepth_half"]

CHANNELS: Final = 16  # of the light decoder's finest level, unless a study file says otherwise
SLOPE: Final = 0.2  # of LeakyReLU


class Decoder(nn.Module):
    """A decoder whose width does not depend on the encoder's.

    encoder_channels: of the features, finest first. channels: of the finest decoder level; each coarser level has
    twice as many, up to 8 times. spread: the features have the same stride and are first enlarged to a pyramid, each to
    twice the size of the next.

    forward: features, finest first -> [B, channels, H / s, W / s] at the finest level's size.
    channels, widths: of the finest level; of every level, finest first.
    """

    def __init__(self, encoder_channels: Sequence[int], channels: int, *, spread: bool = False) -> None:
        super().__init__()
        self.spread = spread
        levels = len(encoder_channels)
        self.widths = widths = [channels * min(2**level, 8) for level in range(levels)]
        self.top: nn.Module = _block(encoder_channels[-1], widths[-1], kernel=1)
        self.levels = nn.ModuleList(
            nn.Sequential(
                _block(widths[level + 1] + encoder_channels[level], widths[level]), _block(widths[level], widths[level])
            )
            for level in reversed(range(levels - 1))
        )
        self.channels = widths[0]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.pyramid(features)[0]

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The output of every level, finest first, each [B, widths[i], ...] at the size of its feature."""
        if self.spread:
            features = [_enlarged(feature, 2 ** (len(features) - 1 - level)) for level, feature in enumerate(features)]
        x: Tensor = self.top(features[-1])
        results = [x]
        for level, skip in zip(self.levels, reversed(features[:-1]), strict=True):
            x = interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = level(torch.cat([x, skip], dim=1))
            results.append(x)
        return results[::-1]


def _enlarged(feature: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return feature
    return interpolate(feature, scale_factor=factor, mode="bilinear", align_corners=False)


class DenseDepthDecoder(Decoder):
    """A decoder as wide as its encoder: a 1x1 convolution preserves (share 1) or halves (share .5) the channels of the
    last feature, and each finer level has half as many as the level before. Without batch normalisation.

    encoder_channels, spread, forward, channels, widths: see Decoder. With DenseNet169's features, share 1 gives the
    42.6 million parameters of the paper if each skip connection starts after the transition layer, as in the paper;
    timm's features are from before it, and wider. Source: Alhashim and Wonka 2018.
    """

    def __init__(self, encoder_channels: Sequence[int], share: float, *, spread: bool = False) -> None:
        nn.Module.__init__(self)
        self.spread = spread
        levels = len(encoder_channels)
        widest = round(share * encoder_channels[-1])
        self.widths = widths = [max(1, widest // 2 ** (levels - 1 - level)) for level in range(levels)]
        self.top = nn.Conv2d(encoder_channels[-1], widths[-1], 1)
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(widths[level + 1] + encoder_channels[level], widths[level], 3, padding=1),
                nn.LeakyReLU(SLOPE, inplace=True),
                nn.Conv2d(widths[level], widths[level], 3, padding=1),
                nn.LeakyReLU(SLOPE, inplace=True),
            )
            for level in reversed(range(levels - 1))
        )
        self.channels = widths[0]


def make_decoder(name: DecoderName, encoder_channels: Sequence[int], channels: int, *, spread: bool = False) -> Decoder:
    """Make a decoder by name. channels: of the light decoder's finest level. spread: see Decoder."""
    if name == "light":
        return Decoder(encoder_channels, channels, spread=spread)
    return DenseDepthDecoder(encoder_channels, {"densedepth": 1.0, "densedepth_half": 0.5}[name], spread=spread)


def _block(inputs: int, outputs: int, *, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(SLOPE, inplace=True),
    )
