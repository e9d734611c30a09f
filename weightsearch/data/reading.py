"""Reading of all frames of a data set, in threads; faulty frames do not stop it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from weightsearch.data.images import resize_depth, resize_sparse_depth
from weightsearch.data.source import Frame, Naming, Source, Video
from weightsearch.errors import DataError, counted, fault_line

Result = TypeVar("Result")
Progress = Callable[[int, int], None]

NAMED: Final = 8  # faulty frames that an error lists


@dataclass(frozen=True)
class Reading(Generic[Result]):
    """The result of reading a frame. size: height, width in pixels; None if the frame cannot be used. problem: the
    reason. found: the result of the caller's function."""

    video: int
    name: str
    size: tuple[int, int] | None = None
    found: Result | None = None
    problem: str | None = None


def read_all(
    source: Source,
    videos: Sequence[Video],
    use: Callable[[int, Frame], Result],
    progress: Progress | None = None,
    *,
    indices: Sequence[int] | None = None,
) -> list[Reading[Result]]:
    """Read every frame (or those of these indices) once and call `use` with index and frame, in several threads.
    progress: called with the number of finished frames and of all frames. Never raises for a frame."""
    wanted = range(sum(video.length for video in videos)) if indices is None else indices

    def read_frame(index: int) -> Reading[Result]:
        video, position = place_of(videos, index)
        try:
            frame = source.read(video, position)
            check_frame(frame)
            result = use(index, frame)
        except DataError as error:
            return Reading(video, "", problem=str(error))
        except Exception as error:  # a user's data set may raise anything
            problem = f"{videos[video].name}, frame {position}: {fault_line(error)}"
            return Reading(video, "", problem=problem)
        return Reading(video, frame.name, (frame.depth.shape[0], frame.depth.shape[1]), result)

    readings: list[Reading[Result]] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for reading in pool.map(read_frame, wanted):
            readings.append(reading)
            if progress is not None:
                progress(len(readings), len(wanted))
    return readings


def names_of(source: Source, videos: Sequence[Video], indices: Sequence[int]) -> list[str]:
    """The names of these frames; the frames are read only if the data set does not know the names. Raises
    DataError."""
    if isinstance(source, Naming):
        return [source.name(*place_of(videos, index)) for index in indices]
    return [reading.name for reading in usable(read_all(source, videos, lambda *_: None, indices=indices), videos)]


def usable(readings: Sequence[Reading[Result]], videos: Sequence[Video]) -> Sequence[Reading[Result]]:
    """The readings, if every frame can be used. Raises DataError."""
    bad = problems(readings, videos)
    if bad:
        more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise DataError(
            f"data: {len(bad)} of {counted(len(readings), 'frame')} cannot be used: {'; '.join(bad[:NAMED])}{more}"
        )
    return readings


def problems(readings: Sequence[Reading[Result]], videos: Sequence[Video]) -> list[str]:
    """A line for every frame that cannot be used, and for every frame whose size differs from most of its video's."""
    sizes: dict[int, Counter[tuple[int, int]]] = {}
    for reading in readings:
        if reading.size is not None and not videos[reading.video].mixed:
            sizes.setdefault(reading.video, Counter())[reading.size] += 1
    usual = {video: counts.most_common(1)[0][0] for video, counts in sizes.items()}
    lines = list(dict.fromkeys(reading.problem for reading in readings if reading.problem is not None))
    for reading in readings:
        size, most = reading.size, usual.get(reading.video)
        if size is not None and most is not None and size != most:
            lines.append(f"{reading.name}: {size[1]}x{size[0]} pixels, its video has {most[1]}x{most[0]}")
    return lines


def place_of(videos: Sequence[Video], index: int) -> tuple[int, int]:
    """The video of an index into the frames of all videos, and the frame's index in that video."""
    for number, video in enumerate(videos):
        if index < video.length:
            return number, index
        index -= video.length
    raise IndexError(index)


def check_frame(frame: Frame) -> None:
    """Raise DataError if a frame's arrays do not have the form that Frame describes."""
    height, width = frame.image.shape[:2]
    if frame.image.shape != (height, width, 3) or frame.image.dtype != np.uint8:
        raise DataError(f"{frame.name}: expected uint8 colour [H, W, 3], found {frame.image.dtype} {frame.image.shape}")
    if frame.depth.shape != (height, width):
        raise DataError(f"{frame.name}: colour has {width}x{height} pixels, depth {frame.depth.shape[::-1]}")
    if not np.isfinite(frame.depth).all() or (frame.depth < 0).any():
        raise DataError(f"{frame.name}: depth is negative or not finite; unknown depth is 0")


def resized_depth(frame: Frame, size: tuple[int, int]) -> NDArray[np.float32]:
    """A frame's depth resized, metres, [H, W]."""
    return (resize_sparse_depth if frame.sparse else resize_depth)(frame.depth, size)
