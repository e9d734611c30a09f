"""Batches: the names and units of the tensors that networks, loss terms and metrics get from a data set."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Neighbours:
    """Frames of the same video beside each frame of a batch, S of them, taken by the same camera.

    offsets: their distances in frames, such as (-1, 1). image: RGB in [0, 1], [B, S, 3, H, W]. pose: from the frame's
    camera coordinates to the neighbour's, metres, [B, S, 4, 4], NaN where unknown.
    """

    offsets: tuple[int, ...]
    image: Tensor
    pose: Tensor


@dataclass(frozen=True)
class TrueMotion:
    """A data set's ground truth of motion, None if it has none. flow: pixels (x, y) from the frame to each neighbour,
    [B, S, 2, H, W], NaN where unknown. moving: mask of the pixels of moving objects, [B, 1, H, W] bool."""

    flow: Tensor | None = None
    moving: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """A batch on one device.

    image: RGB in [0, 1], [B, 3, H, W]. depth: metres, [B, 1, H, W], 0 where unknown.
    valid: mask of the pixels with min_depth < depth < max_depth, [B, 1, H, W] bool.
    intrinsics: pixels, [B, 3, 3]. pose: camera to world, metres, [B, 4, 4], NaN where unknown.
    features: of a frozen encoder, finest first, each [B, C, h, w]; empty if they are not cached.
    neighbours: None if `data.neighbours` is empty. motion: ground truth of motion.
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
