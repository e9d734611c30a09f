"""A light decoder: bilinear upsampling, skip connections, two convolutions a level (after DenseDepth, with far fewer
channels)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class Decoder(nn.Module):
    """encoder_channels: of the features, finest first. channels: of the finest decoder level; each coarser level has
    twice as many, up to 8 times. spread: the features have all one stride and are enlarged to a pyramid first, each to
    twice the size of the next.

    forward: features, finest first -> [B, channels, H / s, W / s] at the finest level's size.
    channels, widths: of the finest level; of every level, finest first.
    """

    def __init__(self, encoder_channels: Sequence[int], channels: int, *, spread: bool = False) -> None:
        super().__init__()
        self.spread = spread
        levels = len(encoder_channels)
        self.widths = widths = [channels * min(2**level, 8) for level in range(levels)]
        self.top = _block(encoder_channels[-1], widths[-1], kernel=1)
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
        """Every level's result, finest first, each [B, widths[i], ...] at the size of its feature."""
        if self.spread:
            features = [_enlarged(one, 2 ** (len(features) - 1 - level)) for level, one in enumerate(features)]
        x: Tensor = self.top(features[-1])
        found = [x]
        for level, skip in zip(self.levels, reversed(features[:-1]), strict=True):
            x = interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = level(torch.cat([x, skip], dim=1))
            found.append(x)
        return found[::-1]


def _enlarged(feature: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return feature
    return interpolate(feature, scale_factor=factor, mode="bilinear", align_corners=False)


def _block(inputs: int, outputs: int, *, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.2, inplace=True),
    )
