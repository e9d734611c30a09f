"""A configuration's data: cached frames, cut into splits, as batches on a device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.data.cache import CONTENT, CachedFrames, open_frames
from weightsearch.data.reading import Progress
from weightsearch.data.source import SplitName
from weightsearch.data.split import cut
from weightsearch.data.truth import Truth, open_truth
from weightsearch.spec.sections import Configuration

# What counts as the same, relative: other decoders of a picture round otherwise.
SAME: Final = {"frames": 0.0, "known": 1e-5, "depth": 1e-5, "picture": 1e-3}


@dataclass(frozen=True)
class Dataset:
    """configuration: what it was opened for. frames: all of them, in the host's memory map. splits: the indices of each
    split's frames, in video order. min_depth, max_depth: metres; depth outside is not valid. features: of a frozen
    encoder, for every frame, finest first, each [N, C, h, w]; none where they are not kept."""

    configuration: Configuration
    frames: CachedFrames
    splits: dict[SplitName, NDArray[np.int64]]
    min_depth: float
    max_depth: float
    features: tuple[NDArray[np.float32], ...] = ()

    def gather(self, indices: NDArray[np.int64], *, pin: bool = False) -> tuple[Tensor, ...]:
        """Copies of these frames as they are stored (uint8 image [B, H, W, 3], float32 depth [B, H, W], intrinsics,
        pose, features), in pinned memory if asked, ready for `to_batch`."""
        frames = self.frames
        parts = [
            torch.from_numpy(np.ascontiguousarray(frames.image[indices])),
            torch.from_numpy(np.ascontiguousarray(frames.depth[indices])),
            torch.from_numpy(frames.intrinsics[indices].astype(np.float32)),
            torch.from_numpy(frames.pose[indices].astype(np.float32)),
            *(torch.from_numpy(np.ascontiguousarray(feature[indices])) for feature in self.features),
        ]
        return tuple(part.pin_memory() for part in parts) if pin else tuple(parts)

    def to_batch(self, parts: tuple[Tensor, ...], device: torch.device) -> Batch:
        """Move gathered frames to a device and bring them into their units there, without waiting for it."""
        image, depth, intrinsics, pose, *features = (part.to(device, non_blocking=True) for part in parts)
        metres = depth.unsqueeze(1)
        return Batch(
            image=image.permute(0, 3, 1, 2).float().div_(255),  # channels-last, as it lies in memory
            depth=metres,
            valid=(metres > self.min_depth) & (metres < self.max_depth),
            intrinsics=intrinsics,
            pose=pose,
            features=tuple(features),
        )

    @property
    def content(self) -> dict[str, float]:
        """What each split holds: the number of its frames and the means of what is in them, see CachedFrames."""
        held: dict[str, float] = {}
        for split, indices in self.splits.items():
            held[f"{split} frames"] = len(indices)
            if len(indices):
                means = self.frames.content[indices].mean(axis=0)
                held |= {f"{split} {name}": float(mean) for name, mean in zip(CONTENT, means, strict=True)}
        return held

    def truth(self, split: SplitName, size: tuple[int, int], progress: Progress | None = None) -> Truth:
        """True depth of a split's frames at a size of its own, made the first time. Raises DataError."""
        return open_truth(self.configuration, self.frames, self.splits[split], size, progress)


def changed_content(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """What a data set holds now that it did not hold before, a text each."""
    return [
        f"{name} {before[name]:.6g} -> {value:.6g}"
        for name, value in now.items()
        if name in before and not math.isclose(before[name], value, rel_tol=SAME[name.split()[-1]])
    ]


def open_dataset(
    configuration: Configuration, *, folder: Path | None = None, progress: Progress | None = None
) -> Dataset:
    """Open (and if need be build) the frame cache of a configuration and cut it. Raises DataError."""
    frames = open_frames(configuration, folder=folder, progress=progress)
    data = configuration.data
    splits = {name: np.array(found, dtype=np.int64) for name, found in cut(frames.videos, data.split).items()}
    return Dataset(configuration, frames, splits, data.min_depth, data.max_depth)
