"""True depth and flow at the evaluation size, if it differs from the network's size."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from weightsearch.config.schema import Configuration
from weightsearch.data.cache import (
    CachedFrames,
    build_source,
    check_unchanged,
    checked_motion,
    files_of,
    reserve,
    videos_of,
)
from weightsearch.data.images import resize_flow
from weightsearch.data.reading import Progress, place_of, read_all, resized_depth, usable
from weightsearch.data.source import Frame, Size, Source, Video, knows_flow
from weightsearch.errors import DataError
from weightsearch.records import EvaluationSize

What = Literal["depth", "flow"]
Map = NDArray[np.float32]

WORDS: Final = {"depth": "true depth", "flow": "true flow"}


@dataclass(frozen=True)
class Truth:
    """Ground truth of a split's frames. maps: memory-mapped, each [H, W] (depth, metres, 0 where unknown) or
    [S, H, W, 2] (flow to each neighbour, pixels (x, y) of its own size, NaN where unknown); their sizes may differ.
    rows: indices of the split's frames in maps."""

    maps: Sequence[Map] | Map
    rows: NDArray[np.int64]

    def __getitem__(self, part: slice) -> Tensor:
        """Depth of a slice of the split's frames, [B, 1, H, W]. They must have one size."""
        ((_, maps),) = self.parts(part)
        return maps

    def parts(self, part: slice) -> Iterator[tuple[slice, Tensor]]:
        """Runs of equal size in a slice of the split's frames: the run's position in the slice, and its depth
        [B, 1, H, W] or flow [B, S, 2, H, W]."""
        chosen = [self.maps[int(row)] for row in self.rows[part]]
        start = 0
        for _, run in itertools.groupby(chosen, lambda array: array.shape):
            maps = np.stack(list(run))
            whole = maps[:, None] if maps.ndim == 3 else np.moveaxis(maps, -1, 2)
            yield slice(start, start + len(maps)), torch.from_numpy(np.ascontiguousarray(whole))
            start += len(maps)


@dataclass(frozen=True)
class _Packed(Sequence[Map]):
    """Maps of several sizes, concatenated in one array. shapes: of the maps. ends: indices after each map's last
    value."""

    values: Map
    shapes: list[tuple[int, ...]]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: Any) -> Any:
        shape = self.shapes[index]
        return self.values[self.ends[index] - np.prod(shape) : self.ends[index]].reshape(shape)


def open_truth(
    configuration: Configuration,
    frames: CachedFrames,
    indices: NDArray[np.int64],
    size: EvaluationSize,
    progress: Progress | None = None,
    what: What = "depth",
) -> Truth:
    """Ground truth of these frames at a size, or `native`: each at the size of its own files. If that is not the size
    of the cache, it is read from the data set's files at the first call. Raises DataError."""
    sizes = [_size(row) for row in frames.sizes[indices]] if size == "native" else [size] * len(indices)
    cached = frames.depth if what == "depth" or frames.flow is None else frames.flow
    if all(frame_size == frames.depth.shape[1:] for frame_size in sizes):
        return Truth(cached, indices)
    shapes: list[tuple[int, ...]] = [
        (frame_size if what == "depth" else (cached.shape[1], *frame_size, 2)) for frame_size in sizes
    ]
    name = hashlib.sha256(indices.tobytes()).hexdigest()[:16]
    named = size if size == "native" else f"{size[0]}x{size[1]}"
    path = frames.folder / f"{'truth' if what == 'depth' else 'flow'}-{named}-{name}.npy"
    make = _depth_maker(sizes) if what == "depth" else _flow_maker(configuration, sizes)
    try:
        values = _load(path, shapes)
        if values is None:
            with FileLock(f"{path}.lock"):
                values = _load(path, shapes)
                if values is None:
                    _build(configuration, indices, shapes, path, make, progress)
                    values = np.load(path, mmap_mode="r")
        return Truth(_Packed(values, shapes, _ends(shapes)), np.arange(len(indices)))
    except OSError as error:
        raise DataError(
            f"cannot write the {WORDS[what]} at {named} into the cache {frames.folder}: "
            f"{error.strerror or error}; set WEIGHTSEARCH_CACHE to a folder that can be written and has room"
        ) from error


def _size(row: NDArray[np.int64]) -> Size:
    return int(row[0]), int(row[1])


def _ends(shapes: Sequence[tuple[int, ...]]) -> NDArray[np.int64]:
    return np.cumsum([int(np.prod(shape)) for shape in shapes], dtype=np.int64)


def _load(path: Path, shapes: Sequence[tuple[int, ...]]) -> Map | None:
    """Load the cached truth; None if it is missing or damaged."""
    try:
        values: Map = np.load(path, mmap_mode="r")
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return values if values.shape == (int(_ends(shapes)[-1]) if shapes else 0,) else None


Make = Callable[[Source, Sequence[Video], int, int, Frame], Map]  # from a frame's row and its index


def _depth_maker(sizes: Sequence[Size]) -> Make:
    def make(_: Source, __: Sequence[Video], row: int, ___: int, frame: Frame) -> Map:
        return resized_depth(frame, sizes[row])

    return make


def _flow_maker(configuration: Configuration, sizes: Sequence[Size]) -> Make:
    def make(source: Source, videos: Sequence[Video], row: int, index: int, frame: Frame) -> Map:
        video, position = place_of(videos, index)
        offsets = configuration.data.neighbours
        flows = np.full((len(offsets), *sizes[row], 2), np.nan, dtype=np.float32)
        for number, offset in enumerate(offsets):
            if knows_flow(source) and 0 <= position + offset < videos[video].length:
                flow = checked_motion(frame, "flow", source.flow(video, position, offset), 2)
                flows[number] = resize_flow(flow, sizes[row])
        return flows

    return make


def _build(
    configuration: Configuration,
    indices: NDArray[np.int64],
    shapes: Sequence[tuple[int, ...]],
    path: Path,
    make: Make,
    progress: Progress | None,
) -> None:
    source = build_source(configuration)
    videos = videos_of(configuration, source)
    ends = _ends(shapes)
    work = Path(tempfile.mkdtemp(prefix="building-", dir=path.parent))
    try:
        shape = (int(ends[-1]),)
        array = np.lib.format.open_memmap(work / "truth.npy", mode="w+", dtype=np.float32, shape=shape)
        reserve(work / "truth.npy")
        packed = _Packed(array, list(shapes), ends)
        rows = {int(index): row for row, index in enumerate(indices)}

        def keep(index: int, frame: Frame) -> None:
            row = rows[index]
            packed[row][...] = make(source, videos, row, index, frame)

        usable(read_all(source, videos, keep, progress, indices=[int(index) for index in indices]), videos)
        array.flush()
        check_unchanged(files_of(configuration, source), path.parent)
        (work / "truth.npy").rename(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)
