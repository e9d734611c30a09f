"""True depth at the size it is evaluated at, where that is not the size the network works at."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from weightsearch.data.cache import CachedFrames, build_source, check_unchanged, reserve
from weightsearch.data.reading import Progress, read_all, resized_depth, usable
from weightsearch.data.source import Frame
from weightsearch.errors import DataError
from weightsearch.spec.sections import Configuration


@dataclass(frozen=True)
class Truth:
    """True depth of a split's frames. depth: metres, [M, H, W], 0 where unknown, memory-mapped. rows: theirs in it."""

    depth: NDArray[np.float32]
    rows: NDArray[np.int64]

    def __getitem__(self, part: slice) -> Tensor:
        """Of the split's frames from one place to another, [B, 1, H, W]."""
        return torch.from_numpy(np.ascontiguousarray(self.depth[self.rows[part]])[:, None])


def open_truth(
    configuration: Configuration,
    frames: CachedFrames,
    indices: NDArray[np.int64],
    size: tuple[int, int],
    progress: Progress | None = None,
) -> Truth:
    """True depth of these frames at a size; where that is not the cache's own, it is read again from the data set's
    files the first time. Raises DataError."""
    if size == frames.depth.shape[1:]:
        return Truth(frames.depth, indices)
    name = hashlib.sha256(indices.tobytes()).hexdigest()[:16]
    path = frames.folder / f"truth-{size[0]}x{size[1]}-{name}.npy"
    try:
        depth = _load(path, len(indices), size)
        if depth is None:
            with FileLock(f"{path}.lock"):
                depth = _load(path, len(indices), size)
                if depth is None:
                    _build(configuration, indices, size, path, progress)
                    depth = np.load(path, mmap_mode="r")
        return Truth(depth, np.arange(len(indices)))
    except OSError as error:
        raise DataError(
            f"cannot write the true depth at {size[0]}x{size[1]} into the cache {frames.folder}: "
            f"{error.strerror or error}; set WEIGHTSEARCH_CACHE to a folder that can be written and has room"
        ) from error


def _load(path: Path, count: int, size: tuple[int, int]) -> NDArray[np.float32] | None:
    """None if it is not there, or damaged."""
    try:
        depth: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return depth if depth.shape == (count, *size) else None


def _build(
    configuration: Configuration,
    indices: NDArray[np.int64],
    size: tuple[int, int],
    path: Path,
    progress: Progress | None,
) -> None:
    source = build_source(configuration)
    videos = source.videos()
    work = Path(tempfile.mkdtemp(prefix="building-", dir=path.parent))
    try:
        shape = (len(indices), *size)
        array = np.lib.format.open_memmap(work / "truth.npy", mode="w+", dtype=np.float32, shape=shape)
        reserve(work / "truth.npy")
        rows = {int(index): row for row, index in enumerate(indices)}

        def keep(index: int, frame: Frame) -> None:
            array[rows[index]] = resized_depth(frame, size)

        usable(read_all(source, videos, keep, progress, indices=[int(index) for index in indices]), videos)
        array.flush()
        check_unchanged(source, path.parent)
        (work / "truth.npy").rename(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)
