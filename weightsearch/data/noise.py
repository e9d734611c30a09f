"""Frames of noise, where what they show does not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from weightsearch.data.cache import CONTENT, CachedFrames
from weightsearch.data.dataset import Dataset
from weightsearch.data.source import Video
from weightsearch.spec.sections import Configuration


def noise(configuration: Configuration, count: int, folder: Path) -> Dataset:
    """So many frames with depth everywhere, all of them in every split. folder: an empty one, for what may be kept
    beside frames."""
    data = configuration.data
    rng = np.random.default_rng(0)
    height, width = data.size
    frames = CachedFrames(
        folder,
        (Video("noise", count),),
        tuple(f"noise {number}" for number in range(count)),
        np.zeros((count, len(CONTENT))),
        rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8),
        rng.uniform(data.min_depth, data.max_depth, (count, height, width)).astype(np.float32),
        np.tile(np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=np.float64), (count, 1, 1)),
        np.tile(np.eye(4), (count, 1, 1)),
    )
    everything = np.arange(count)
    splits = {"train": everything, "validation": everything, "test": everything}
    return Dataset(configuration, frames, splits, data.min_depth, data.max_depth)  # type: ignore[arg-type]
