"""The names and units of the tensors that go from a data set to a network, a loss term and a metric."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """A batch on one device.

    image: colour in [0, 1], [B, 3, H, W]. depth: metres, [B, 1, H, W], 0 where it is not known.
    valid: [B, 1, H, W] bool, the pixels with min_depth < depth < max_depth.
    intrinsics: pixels, [B, 3, 3]. pose: camera to world, metres, [B, 4, 4] (NaN where a data set has none).
    features: of a frozen encoder, finest first, each [B, C, h, w]; none where they are not kept.
    """

    image: Tensor
    depth: Tensor
    valid: Tensor
    intrinsics: Tensor
    pose: Tensor
    features: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return self.image.shape[0]
