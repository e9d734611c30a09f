"""Checks of a data set before a training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from weightsearch.config.schema import Configuration
from weightsearch.data.cache import build_source, checked_motion, files_of, videos_of
from weightsearch.data.listing import example_noun, frame_warnings
from weightsearch.data.plausible import reading_of, sample_of, truth_doubts
from weightsearch.data.reading import Progress, Reading, names_of, place_of, problems, read_all
from weightsearch.data.source import Choosing, Frame, Source, Video, knows_flow, knows_moving
from weightsearch.data.split import LeftOver, cut, left_over, with_neighbours
from weightsearch.errors import DataError, counted

COMPUTED: Final = 100  # frames of a computed data set that are checked, about; its frames cannot be damaged


@dataclass(frozen=True)
class FlowCheck:
    """A check of true flow. known: the share of pixels with known flow. median, longest: median and largest length, in
    pixels of the files' own size, NaN if no flow is known."""

    known: float
    median: float
    longest: float


@dataclass(frozen=True)
class FrameCheck:
    """A check of one frame. low, median, high: of its depth, metres, NaN if no depth is known. known: the share of
    pixels with known depth. valid: the share with depth between `data.min_depth` and `data.max_depth`. sample: some of
    its known depths, metres. flow: true flow to its neighbours, None if the data set has none."""

    low: float
    median: float
    high: float
    known: float
    valid: float
    pose: bool
    sample: NDArray[np.float32]
    flow: FlowCheck | None = None


@dataclass(frozen=True)
class VideoCheck:
    """A check of one video. frames: readable frames. of: all frames. sizes: their heights and widths, pixels. low,
    median, high: the smallest depth, the median of the frames' medians and the largest depth, metres, NaN if no depth
    is known. known, valid: mean shares of the pixels with known and with valid depth. poses: whether every frame has a
    pose. flow: true flow, None if it was not checked."""

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
    flow: FlowCheck | None = None


@dataclass(frozen=True)
class DataCheck:
    """A check of a data set. splits: number of frames (for a data set of image pairs: of pairs) in each split; None if
    the videos cannot be split, with a line in `problems`. files: number of files read. left_out: frames that the data
    set does not use because their depth is missing. in_gaps: frames left out at the cuts. beyond: frames beyond the
    fractions, if these add up to less than 1. alone: frames that lack a neighbour. These and the splits add up to all
    frames. every: one frame in so many was checked; above 1 only for computed data."""

    videos: tuple[VideoCheck, ...]
    splits: dict[str, int] | None
    files: int
    problems: tuple[str, ...]
    left_out: int = 0
    in_gaps: int = 0
    beyond: int = 0
    alone: int = 0
    every: int = 1

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON: NaN becomes null."""
        videos = [_plain(asdict(video)) for video in self.videos]
        whole = {"splits": self.splits, "files": self.files, "left_out": self.left_out}
        whole |= {"in_gaps": self.in_gaps, "beyond_fractions": self.beyond, "without_neighbours": self.alone}
        whole |= {"every": self.every}
        return {"videos": videos, **whole, "problems": list(self.problems)}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: None if value != value else value for name, value in values.items()}
    return {name: _plain(value) if isinstance(value, dict) else value for name, value in plain.items()}


def check_data(configuration: Configuration, progress: Progress | None = None) -> DataCheck:
    """Read every frame of a configuration's data set once, or about COMPUTED frames if it is computed. Raises DataError
    only if the data set cannot be opened."""
    data = configuration.data
    source = build_source(configuration)
    videos = videos_of(configuration, source)

    def look(index: int, frame: Frame) -> FrameCheck:
        flow = _look_at_motion(source, videos, index, frame, data.neighbours)
        depth = frame.depth[frame.depth > 0]
        size = frame.depth.size
        valid = np.count_nonzero((depth > data.min_depth) & (depth < data.max_depth)) / size
        pose = bool(np.isfinite(frame.pose).all())
        if not len(depth):
            return FrameCheck(np.nan, np.nan, np.nan, 0.0, 0.0, pose, depth, flow)
        low, high = float(depth.min()), float(depth.max())
        return FrameCheck(low, float(np.median(depth)), high, len(depth) / size, valid, pose, sample_of(depth), flow)

    lengths = [video.length for video in videos]
    every = -(-sum(lengths) // COMPUTED) if getattr(source, "computed", False) else 1
    chosen = [end - length + position for length, end in _ends(lengths) for position in range(0, length, every)]
    readings = read_all(source, videos, look, progress, indices=chosen)
    bad = problems(readings, videos)
    if not data.neighbours:  # learning from neighbouring frames needs no ground truth
        bad += _without_truth(readings, data.min_depth, data.max_depth)
    samples = [reading.found.sample for reading in readings if reading.found is not None]
    bad += [doubt.text for doubt in truth_doubts(samples, configuration, lambda: reading_of(configuration, source))]
    splits: dict[str, int] | None = None
    over, alone = LeftOver(0, 0), 0
    try:
        whole = cut(videos, data.split)
        read = [reading.name for reading in readings]
        names = read if every == 1 else names_of(source, videos, range(sum(lengths)))
        indices = with_neighbours(whole, videos, data.neighbours, names)
        over = left_over(videos, data.split)
        if example_noun(configuration) == "frame":  # a pair's second image is not an example, so it is not left out
            alone = sum(len(whole[name]) - len(remaining) for name, remaining in indices.items())
        splits = {str(name): len(remaining) for name, remaining in indices.items()}
        bad += frame_warnings(configuration, videos, names, indices)
    except DataError as error:
        bad.append(str(error))
    checks = [
        _summary(video, [reading for reading in readings if reading.video == number])
        for number, video in enumerate(videos)
    ]
    left_out = source.left_out if isinstance(source, Choosing) else 0
    files = len(set(files_of(configuration, source)))
    return DataCheck(tuple(checks), splits, files, tuple(bad), left_out, over.gap, over.rest, alone, every)


def _ends(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each video's length, and the index after its last frame."""
    return zip(lengths, itertools.accumulate(lengths), strict=True)


def _look_at_motion(
    source: Source, videos: Sequence[Video], index: int, frame: Frame, neighbours: Sequence[int]
) -> FlowCheck | None:
    """Read a frame's true flow and its mask of moving pixels, and check the flow; None if the data set has no flow.
    Raises DataError if they cannot be read or differ in size from the frame."""
    video, position = place_of(videos, index)
    flows: list[NDArray[np.float32]] = []
    if knows_flow(source):
        there = [offset for offset in neighbours if 0 <= position + offset < videos[video].length]
        flows = [checked_motion(frame, "flow", source.flow(video, position, offset), 2) for offset in there]
    if neighbours and knows_moving(source):
        checked_motion(frame, "mask of what moves", source.moving(video, position))
    if not flows:
        return None
    length = np.concatenate([np.linalg.norm(flow, axis=2).ravel() for flow in flows])
    finite = length[np.isfinite(length)]
    if not len(finite):
        return FlowCheck(0.0, np.nan, np.nan)
    return FlowCheck(len(finite) / len(length), float(np.median(finite)), float(finite.max()))


def _without_truth(readings: Sequence[Reading[FrameCheck]], low: float, high: float) -> list[str]:
    """Lines about frames without a valid depth."""
    unusable = [
        (reading.name, reading.found) for reading in readings if reading.found is not None and reading.found.valid == 0
    ]
    lines = [f"{name}: no pixel's depth is known" for name, check in unusable if check.known == 0]
    if outside := [(name, check) for name, check in unusable if check.known > 0]:
        name, check = outside[0]
        others = ", and others" if len(outside) > 1 else ""
        lines.append(
            f"data: {counted(len(outside), 'frame has', 'frames have')} no depth between min_depth {low:g} and "
            f"max_depth {high:g} m: {name}, "
            f"where it goes from {check.low:g} to {check.high:g} m{others}; is the unit right?"
        )
    return lines


def _summary(video: Video, readings: list[Reading[FrameCheck]]) -> VideoCheck:
    checks = [reading.found for reading in readings if reading.found is not None]
    with_depth = [check for check in checks if check.known > 0]
    sizes = {reading.size for reading in readings if reading.size is not None}

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    return VideoCheck(
        video.name,
        video.length - (len(readings) - len(checks)),
        video.length,
        tuple(sorted(sizes)),
        min((check.low for check in with_depth), default=np.nan),
        float(np.median([check.median for check in with_depth])) if with_depth else np.nan,
        max((check.high for check in with_depth), default=np.nan),
        mean([check.known for check in checks]),
        mean([check.valid for check in checks]),
        bool(checks) and all(check.pose for check in checks),
        _flow_summary([check.flow for check in checks if check.flow is not None]),
    )


def _flow_summary(checks: Sequence[FlowCheck]) -> FlowCheck | None:
    if not checks:
        return None
    with_flow = [check for check in checks if check.known > 0]
    return FlowCheck(
        sum(check.known for check in checks) / len(checks),
        float(np.median([check.median for check in with_flow])) if with_flow else np.nan,
        max((check.longest for check in with_flow), default=np.nan),
    )
