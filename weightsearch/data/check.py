"""Looking through a data set before anything is trained on it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from weightsearch.data.cache import build_source
from weightsearch.data.reading import Progress, Reading, place_of, problems, read_all
from weightsearch.data.source import Choosing, Frame, Source, SplitName, Video, knows_flow, knows_moving
from weightsearch.data.split import cut, with_neighbours
from weightsearch.errors import DataError, counted
from weightsearch.spec.sections import Configuration


@dataclass(frozen=True)
class FrameCheck:
    """Depth of one frame. low, median, high: metres, NaN if none is known. known, valid: shares of its pixels whose
    depth is known, and lies between `data.min_depth` and `data.max_depth`."""

    low: float
    median: float
    high: float
    known: float
    valid: float
    pose: bool


@dataclass(frozen=True)
class VideoCheck:
    """A video: frames that can be read, of how many; their sizes (height, width) in pixels; the smallest depth, the
    median of the frames' medians and the largest depth, metres, NaN if none is known; mean shares of the pixels whose
    depth is known and valid; whether every frame has a pose."""

    name: str
    frames: int
    of: int
    sizes: tuple[tuple[int, int], ...]
    low: float
    median: float
    high: float
    known: float
    valid: float
    poses: bool


@dataclass(frozen=True)
class DataCheck:
    """splits: frames of each; None, and a line among the problems, where they cannot be cut. files: that were read.
    left_out: frames that the data set does not use since their depth is missing."""

    videos: tuple[VideoCheck, ...]
    splits: dict[str, int] | None
    files: int
    problems: tuple[str, ...]
    left_out: int = 0

    def to_plain(self) -> dict[str, Any]:
        """For JSON: numbers that are not known are null."""
        videos = [
            {name: None if value != value else value for name, value in vars(video).items()} for video in self.videos
        ]
        whole = {"splits": self.splits, "files": self.files, "left_out": self.left_out}
        return {"videos": videos, **whole, "problems": list(self.problems)}


def check_data(configuration: Configuration, progress: Progress | None = None) -> DataCheck:
    """Read every frame of a configuration's data set once. Raises DataError only if there is no data set at all."""
    data = configuration.data
    source = build_source(configuration)
    videos = source.videos()

    def look(index: int, frame: Frame) -> FrameCheck:
        _look_at_motion(source, videos, index, data.neighbours)
        depth = frame.depth[frame.depth > 0]
        size = frame.depth.size
        valid = np.count_nonzero((depth > data.min_depth) & (depth < data.max_depth)) / size
        pose = bool(np.isfinite(frame.pose).all())
        if not len(depth):
            return FrameCheck(np.nan, np.nan, np.nan, 0.0, 0.0, pose)
        low, high = float(depth.min()), float(depth.max())
        return FrameCheck(low, float(np.median(depth)), high, len(depth) / size, valid, pose)

    readings = read_all(source, videos, look, progress)
    bad = problems(readings, videos)
    if not data.neighbours:  # video and pairs are learned from without the truth
        bad += _without_truth(readings, data.min_depth, data.max_depth)
    splits: dict[str, int] | None = None
    try:
        indices = with_neighbours(cut(videos, data.split), videos, data.neighbours)
        splits = {str(name): len(found) for name, found in indices.items()}
        if not data.neighbours:
            bad += _shared({name: [readings[index].name for index in found] for name, found in indices.items()})
    except DataError as error:
        bad.append(str(error))
    checks = [_summary(video, [one for one in readings if one.video == number]) for number, video in enumerate(videos)]
    left_out = source.left_out if isinstance(source, Choosing) else 0
    return DataCheck(tuple(checks), splits, len(set(source.files())), tuple(bad), left_out)


def _look_at_motion(source: Source, videos: Sequence[Video], index: int, neighbours: Sequence[int]) -> None:
    """Read what a data set knows of a frame's motion. Raises DataError where that cannot be read."""
    video, place = place_of(videos, index)
    if knows_flow(source):
        for offset in neighbours:
            if 0 <= place + offset < videos[video].length:
                source.flow(video, place, offset)
    if neighbours and knows_moving(source):
        source.moving(video, place)


def _without_truth(readings: Sequence[Reading[FrameCheck]], low: float, high: float) -> list[str]:
    """Lines about frames that nothing can be learned from."""
    found = [(one.name, one.found) for one in readings if one.found is not None and one.found.valid == 0]
    lines = [f"{name}: no pixel's depth is known" for name, one in found if one.known == 0]
    if outside := [(name, one) for name, one in found if one.known > 0]:
        name, one = outside[0]
        others = ", and others" if len(outside) > 1 else ""
        lines.append(
            f"data: {counted(len(outside), 'frame has', 'frames have')} no depth between min_depth {low:g} and "
            f"max_depth {high:g} m: {name}, "
            f"where it goes from {one.low:g} to {one.high:g} m{others}; is the unit right?"
        )
    return lines


def _shared(names: Mapping[SplitName, list[str]]) -> list[str]:
    """A line for every two splits that have frames in common."""
    lines: list[str] = []
    for one, other in itertools.combinations(names, 2):
        both = sorted((set(names[one]) & set(names[other])) - {""})
        if both:
            lines.append(
                f"data: {counted(len(both), 'frame is', 'frames are')} in {one} and in {other}: {', '.join(both[:2])}"
            )
    return lines


def _summary(video: Video, readings: list[Reading[FrameCheck]]) -> VideoCheck:
    found = [reading.found for reading in readings if reading.found is not None]
    known = [one for one in found if one.known > 0]
    sizes = {reading.size for reading in readings if reading.size is not None}

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    return VideoCheck(
        video.name,
        len(found),
        video.length,
        tuple(sorted(sizes)),
        min((one.low for one in known), default=np.nan),
        float(np.median([one.median for one in known])) if known else np.nan,
        max((one.high for one in known), default=np.nan),
        mean([one.known for one in found]),
        mean([one.valid for one in found]),
        bool(found) and all(one.pose for one in found),
    )
