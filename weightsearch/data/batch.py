"""The names and units of the tensors that go from a data set to a network, a loss term and a metric."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Neighbours:
    """Frames of the same video beside each frame of a batch, S of them, taken by the same camera.

    offsets: their distances in frames, such as (-1, 1). image: colour in [0, 1], [B, S, 3, H, W]. pose: the frame's
    camera coordinates to the neighbour's, metres, [B, S, 4, 4], NaN where it is not known.
    """

    offsets: tuple[int, ...]
    image: Tensor
    pose: Tensor


@dataclass(frozen=True)
class TrueMotion:
    """A data set's ground truth of motion. flow: pixels (x, y) from the frame to each neighbour, [B, S, 2, H, W], NaN
    where it is not known; None of a data set without. moving: [B, 1, H, W] bool, the pixels of things that move by
    themselves; None of a data set without."""

    flow: Tensor | None = None
    moving: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """A batch on one device.

    image: colour in [0, 1], [B, 3, H, W]. depth: metres, [B, 1, H, W], 0 where it is not known.
    valid: [B, 1, H, W] bool, the pixels with min_depth < depth < max_depth.
    intrinsics: pixels, [B, 3, 3]. pose: camera to world, metres, [B, 4, 4] (NaN where a data set has none).
    features: of a frozen encoder, finest first, each [B, C, h, w]; none where they are not kept.
    neighbours: None where `data.neighbours` asks for none. motion: what is truly known of it.
    """

    image: Tensor
    depth: Tensor
    valid: Tensor
    intrinsics: Tensor
    pose: Tensor
    features: tuple[Tensor, ...] = ()
    neighbours: Neighbours | None = None
    motion: TrueMotion = TrueMotion()

    def __len__(self) -> int:
        return self.image.shape[0]
