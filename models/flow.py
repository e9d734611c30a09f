"""Optical flow from coarse to fine: features, warping, correlation (after PWC-Net, much smaller)."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import interpolate, pad

from weightsearch.errors import OptionError
from weightsearch.geometry.warp import warp

RADIUS: Final = 3  # search radius around the coarser level's flow, pixels of the level
FINEST: Final = 2  # halvings of the finest level with a flow
START: Final = 0.1  # initial scale of the last layers' parameters over the usual one: flow starts near 0
SLOPE: Final = 0.1  # of leaky ReLUs
FLOOR: Final = 1e-6  # smallest squared length of features that is normalised to 1


class Flow(nn.Module):
    """Optical flow to neighbouring frames by a pyramid of features, as in PWC-Net.

    channels: channels of the first features; later features have up to three times as many. levels: number of halvings
    of the image; the coarsest level detects motion of up to 3 * 2^levels pixels.

    forward: RGB in [0, 1], [B, 3, H, W], and the neighbours' RGB, [B, S, 3, H, W] -> `flow` and `backward_flow`,
    [B, S, 2, H, W], pixels (x, y) of the full size: the frame's pixel p is at p + flow(p) in the neighbour, and the
    neighbour's pixel q is at q + backward_flow(q) in the frame. Both are computed by the same weights, at a quarter of
    the image's size. No outputs without neighbours. Source: Sun et al. 2018.
    """

    predicts: ClassVar = ("flow",)
    one_unit: ClassVar = True

    takes_neighbours = True

    def __init__(
        self,
        *,
        channels: Annotated[int, Field(ge=4, multiple_of=4)] = 12,
        levels: Annotated[int, Field(ge=2, le=6)] = 4,
        neighbours: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        if not neighbours:
            raise OptionError("neighbours", "flow goes to other frames; set data.neighbours, such as [-1, 1]")
        widths = [channels * min(level, 3) for level in range(1, levels + 1)]
        self.features = nn.ModuleList(halving(*pair) for pair in pairwise([3, *widths]))
        self.estimators = nn.ModuleList(_estimator(width, channels) for width in widths[FINEST - 1 :])
        self.divisor = 2**levels

    def forward(self, image: Tensor, neighbours: Tensor | None = None) -> dict[str, Tensor]:
        if neighbours is None:
            return {}
        batch, count, _, height, width = neighbours.shape
        images = torch.cat([image, neighbours.transpose(0, 1).flatten(0, 1)])
        # Repeat the border below and to the right until every level is half of the one before.
        images = pad(images, (0, -width % self.divisor, 0, -height % self.divisor), mode="replicate")
        pairs = [_both_ways(feature, batch, count) for feature in self.pyramid(images)]
        flows = self.between(pairs)[..., :height, :width]
        there, back = flows.reshape(2, count, batch, 2, height, width).transpose(1, 2)
        return {"flow": there, "backward_flow": back}

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """The features of the levels with a flow, finest first, float32. The mean over the image is subtracted from
        each channel: the features are positive, so the angles between them would be small otherwise."""
        features = []
        x = images - 0.5
        for level in self.features:
            x = level(x)
            wide = x.float()
            features.append(wide - wide.mean(dim=(2, 3), keepdim=True))
        return features[FINEST - 1 :]

    def between(self, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Flow from the first to the second image of each pair, [N, 2, H, W]. pairs: features of both images,
        [N, C, h, w], finest first."""
        coarsest = pairs[-1][0]
        flow = coarsest.new_zeros(len(coarsest), 2, *coarsest.shape[-2:])
        for (first, second), estimator in zip(reversed(pairs), reversed(self.estimators), strict=True):
            flow = _finer(flow, first.shape[-1] // flow.shape[-1])
            cost = cost_volume(first, warp(second, flow), RADIUS)
            flow = flow + estimator(torch.cat([cost, first, flow], dim=1))
        return _finer(flow, 2**FINEST)


def cost_volume(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Cosines between the features of a pixel and those around it in the other image, [N, D², H, W], D = 2 radius + 1:
    channel (dy + radius) D + dx + radius is the cosine at (x + dx, y + dy), 0 outside. first, second: [N, C, H, W]."""
    costs: Tensor = _Correlation.apply(_of_length_one(first), _of_length_one(second), radius)
    return costs


class _Correlation(Function):
    """Products of an image's features with another's at every shift. It has its own backward pass, since autograd would
    store a mostly empty gradient image for each of the D² shifts."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, radius: int) -> Tensor:
        height, width = first.shape[-2:]
        padded = pad(second, (radius,) * 4)
        ctx.save_for_backward(first, padded)
        ctx.radius = radius
        return torch.stack([(first * padded[shift]).sum(dim=1) for shift in _shifts(height, width, radius)], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        first, padded = ctx.saved_tensors
        radius, (height, width) = ctx.radius, first.shape[-2:]
        of_first, of_padded = torch.zeros_like(first), torch.zeros_like(padded)
        for channel, shift in enumerate(_shifts(height, width, radius)):
            of_first.addcmul_(gradient[:, channel, None], padded[shift])
            of_padded[shift].addcmul_(gradient[:, channel, None], first)
        return of_first, of_padded[..., radius : radius + height, radius : radius + width], None


def _shifts(height: int, width: int, radius: int) -> list[tuple[Any, ...]]:
    """Indices of the windows of an image padded by radius."""
    reach = range(2 * radius + 1)
    return [(..., slice(y, y + height), slice(x, x + width)) for y in reach for x in reach]


def halving(inputs: int, outputs: int, *, normalised: bool = True) -> nn.Sequential:
    """Two convolutions, the first of which halves the size. Its kernel size is even, so that an output pixel is at the
    centre of the four pixels it represents, where bilinear upsampling expects it. normalised: group normalisation;
    batches are too small for statistics over batches."""
    return nn.Sequential(
        *_activated(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=not normalised), normalised),
        *_activated(nn.Conv2d(outputs, outputs, 3, padding=1, bias=not normalised), normalised),
    )


def _activated(layer: nn.Conv2d, normalised: bool) -> list[nn.Module]:
    """The convolution, its normalisation and its activation. The weights are initialised such that the size of the
    features does not change (He et al. 2015); PyTorch's default is 2.4 times smaller."""
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    norm = [nn.GroupNorm(layer.out_channels // 4, layer.out_channels)] if normalised else []
    return [layer, *norm, nn.LeakyReLU(SLOPE)]


def _estimator(features: int, channels: int) -> nn.Sequential:
    last = nn.Conv2d(2 * channels, 2, 3, padding=1)
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(START)
    return nn.Sequential(
        nn.Conv2d((2 * RADIUS + 1) ** 2 + features + 2, 3 * channels, 3, padding=1),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(3 * channels, 2 * channels, 3, padding=1),
        nn.LeakyReLU(SLOPE),
        last,
    )


def _both_ways(feature: Tensor, batch: int, count: int) -> tuple[Tensor, Tensor]:
    """The features of the first and of the second images of 2 S B pairs: frame to neighbour, then neighbour to frame.
    feature: of B frames, then of their first neighbours, and so on."""
    frame, neighbour = torch.cat([feature[:batch]] * count), feature[batch:]
    return torch.cat([frame, neighbour]), torch.cat([neighbour, frame])


def _finer(flow: Tensor, factor: int) -> Tensor:
    """Flow at `factor` times the size, in pixels of that size."""
    if factor == 1:
        return flow
    return factor * interpolate(flow, scale_factor=factor, mode="bilinear", align_corners=False)


def _of_length_one(feature: Tensor) -> Tensor:
    return feature * feature.square().sum(dim=1, keepdim=True).clamp(min=FLOOR).rsqrt()
