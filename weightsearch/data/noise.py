"""Frames of noise, for checks that do not depend on the image."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from weightsearch.config.schema import Configuration
from weightsearch.data.cache import CONTENT, CachedFrames
from weightsearch.data.dataset import Dataset
from weightsearch.data.source import SplitName, Video

STEP: Final = 0.05  # metres of camera motion between two frames


def noise(configuration: Configuration, count: int, folder: Path) -> Dataset:
    """A data set of `count` frames of noise with depth at every pixel, all of them in every split; further frames serve
    as their neighbours only. folder: an empty folder for cached features."""
    data = configuration.data
    rng = np.random.default_rng(0)
    height, width = data.size
    offsets = data.neighbours
    before, after = -min(0, *offsets, 0), max(0, *offsets, 0)
    every = before + count + after
    pose = np.tile(np.eye(4), (every, 1, 1))
    pose[:, 2, 3] = STEP * np.arange(every)
    frames = CachedFrames(
        folder,
        (Video("noise", every),),
        tuple(f"noise {number}" for number in range(every)),
        np.ones((every, len(CONTENT))),
        np.tile(np.array(data.size, dtype=np.int64), (every, 1)),
        rng.integers(0, 256, (every, height, width, 3), dtype=np.uint8),
        rng.uniform(data.min_depth, data.max_depth, (every, height, width)).astype(np.float32),
        np.tile(np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=np.float64), (every, 1, 1)),
        pose,
        np.zeros((every, len(offsets), height, width, 2), dtype=np.float32) if offsets else None,
        np.zeros((every, height, width), dtype=np.bool_) if offsets else None,
    )
    middle = np.arange(before, before + count)
    splits: dict[SplitName, NDArray[np.int64]] = {"train": middle, "validation": middle, "test": middle}
    return Dataset(configuration, frames, splits, data.min_depth, data.max_depth, offsets=offsets, made_up=True)
