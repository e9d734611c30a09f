"""A configuration's data: cached frames, cut into splits, as batches on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.data.cache import CachedFrames, Progress, open_frames
from weightsearch.data.split import SplitName, cut
from weightsearch.spec.sections import Configuration


@dataclass(frozen=True)
class Dataset:
    """frames: all of them, in the host's memory map. splits: the indices of each split's frames, in video order.
    min_depth, max_depth: metres; depth outside is not valid."""

    frames: CachedFrames
    splits: dict[SplitName, NDArray[np.int64]]
    min_depth: float
    max_depth: float

    def gather(self, indices: NDArray[np.int64], *, pin: bool = False) -> tuple[Tensor, ...]:
        """Copies of these frames as they are stored (uint8 image [B, H, W, 3], float32 depth [B, H, W], intrinsics,
        pose), in pinned memory if asked, ready for `to_batch`."""
        frames = self.frames
        parts = [
            torch.from_numpy(np.ascontiguousarray(frames.image[indices])),
            torch.from_numpy(np.ascontiguousarray(frames.depth[indices])),
            torch.from_numpy(frames.intrinsics[indices].astype(np.float32)),
            torch.from_numpy(frames.pose[indices].astype(np.float32)),
        ]
        return tuple(part.pin_memory() for part in parts) if pin else tuple(parts)

    def to_batch(self, parts: tuple[Tensor, ...], device: torch.device) -> Batch:
        """Move gathered frames to a device and bring them into their units there, without waiting for it."""
        image, depth, intrinsics, pose = (part.to(device, non_blocking=True) for part in parts)
        metres = depth.unsqueeze(1)
        return Batch(
            image=image.permute(0, 3, 1, 2).float().div_(255),  # channels-last, as it lies in memory
            depth=metres,
            valid=(metres > self.min_depth) & (metres < self.max_depth),
            intrinsics=intrinsics,
            pose=pose,
        )


def open_dataset(
    configuration: Configuration, *, folder: Path | None = None, progress: Progress | None = None
) -> Dataset:
    """Open (and if need be build) the frame cache of a configuration and cut it. Raises DataError."""
    frames = open_frames(configuration, folder=folder, progress=progress)
    data = configuration.data
    splits = {name: np.array(found, dtype=np.int64) for name, found in cut(frames.videos, data.split).items()}
    return Dataset(frames, splits, data.min_depth, data.max_depth)
