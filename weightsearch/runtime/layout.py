"""Memory layout of a network's tensors."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

FEW: Final = 16  # channels


def channels_last(network: nn.Module, device: torch.device) -> nn.Module:
    """Convert a network's weights to channels-last, which is faster on CPUs and GPUs.

    Workaround on a CPU: the gradient of strided 1x1 convolutions with few input channels, such as a branch of the stems
    of FastViT and MobileOne, writes beyond its memory in channels-last (seen with torch 2.14 and oneDNN 3.12, up to 8
    channels). They are computed with stride 1 on every stride-th pixel, which is equivalent.
    """
    network = network.to(memory_format=torch.channels_last)
    if device.type == "cpu":
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and _writes_beyond(module):
                module.register_forward_pre_hook(partial(_thinned, stride=module.stride))
                module.stride = (1, 1)
    return network


def _writes_beyond(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (1, 1)
        and max(conv.stride) > 1
        and conv.padding in ((0, 0), "valid")
        and conv.in_channels // conv.groups < FEW
    )


def _thinned(module: nn.Module, inputs: tuple[Tensor, ...], *, stride: tuple[int, ...]) -> Any:  # noqa: ARG001
    (image,) = inputs
    return (image[..., :: stride[0], :: stride[1]],)
