"""Looking through a data set before anything is trained on it."""

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

COMPUTED: Final = 100  # frames of a computed data set that are looked at, about: none of them can be a damaged file


@dataclass(frozen=True)
class FlowCheck:
    """True flow. known: the share of pixels where it is known. median, longest: its length, pixels of the files' own
    size, NaN if none is known."""

    known: float
    median: float
    longest: float


@dataclass(frozen=True)
class FrameCheck:
    """Depth of one frame. low, median, high: metres, NaN if none is known. known, valid: shares of its pixels whose
    depth is known, and lies between `data.min_depth` and `data.max_depth`. sample: some of its known depths, metres.
    flow: true flow to its neighbours, None of a data set that knows none."""

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
    """A video: frames that can be read, of how many; their sizes (height, width) in pixels; the smallest depth, the
    median of the frames' medians and the largest depth, metres, NaN if none is known; mean shares of the pixels whose
    depth is known and valid; whether every frame has a pose; true flow, None where none is looked for."""

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
    """splits: frames (of a data set of image pairs: pairs) of each; None, and a line among the problems, where they
    cannot be cut. files: that were read. left_out: frames that the data set does not use since their depth is missing.
    in_gaps: at the cuts. beyond: the fractions, which add up to less than 1. alone: that lack a neighbour. These and
    the splits are all frames. every: of each video every so many-th frame was looked at; more than 1 only of computed
    data."""

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
        """For JSON: numbers that are not known are null."""
        videos = [_plain(asdict(video)) for video in self.videos]
        whole = {"splits": self.splits, "files": self.files, "left_out": self.left_out}
        whole |= {"in_gaps": self.in_gaps, "beyond_fractions": self.beyond, "without_neighbours": self.alone}
        whole |= {"every": self.every}
        return {"videos": videos, **whole, "problems": list(self.problems)}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: None if value != value else value for name, value in values.items()}
    return {name: _plain(value) if isinstance(value, dict) else value for name, value in plain.items()}


def check_data(configuration: Configuration, progress: Progress | None = None) -> DataCheck:
    """Read every frame of a configuration's data set once; of a computed one, about COMPUTED frames. Raises DataError
    only if there is no data set at all."""
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
    chosen = [end - length + place for length, end in _ends(lengths) for place in range(0, length, every)]
    readings = read_all(source, videos, look, progress, indices=chosen)
    bad = problems(readings, videos)
    if not data.neighbours:  # video and pairs are learned from without the truth
        bad += _without_truth(readings, data.min_depth, data.max_depth)
    samples = [one.found.sample for one in readings if one.found is not None]
    bad += [doubt.text for doubt in truth_doubts(samples, configuration, lambda: reading_of(configuration, source))]
    splits: dict[str, int] | None = None
    over, alone = LeftOver(0, 0), 0
    try:
        whole = cut(videos, data.split)
        read = [reading.name for reading in readings]
        names = read if every == 1 else names_of(source, videos, range(sum(lengths)))
        indices = with_neighbours(whole, videos, data.neighbours, names)
        over = left_over(videos, data.split)
        if example_noun(configuration) == "frame":  # a pair's second image is no example that was left out
            alone = sum(len(whole[name]) - len(found) for name, found in indices.items())
        splits = {str(name): len(found) for name, found in indices.items()}
        bad += frame_warnings(configuration, videos, names, indices)
    except DataError as error:
        bad.append(str(error))
    checks = [_summary(video, [one for one in readings if one.video == number]) for number, video in enumerate(videos)]
    left_out = source.left_out if isinstance(source, Choosing) else 0
    files = len(set(files_of(configuration, source)))
    return DataCheck(tuple(checks), splits, files, tuple(bad), left_out, over.gap, over.rest, alone, every)


def _ends(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each video's length, and the index behind its last frame."""
    return zip(lengths, itertools.accumulate(lengths), strict=True)


def _look_at_motion(
    source: Source, videos: Sequence[Video], index: int, frame: Frame, neighbours: Sequence[int]
) -> FlowCheck | None:
    """Read a frame's true flow, None if the data set has none, and its mask of moving pixels. Raises DataError if they
    cannot be read or are not of the frame's size."""
    video, place = place_of(videos, index)
    flows: list[NDArray[np.float32]] = []
    if knows_flow(source):
        there = [offset for offset in neighbours if 0 <= place + offset < videos[video].length]
        flows = [checked_motion(frame, "flow", source.flow(video, place, offset), 2) for offset in there]
    if neighbours and knows_moving(source):
        checked_motion(frame, "mask of what moves", source.moving(video, place))
    if not flows:
        return None
    length = np.concatenate([np.linalg.norm(flow, axis=2).ravel() for flow in flows])
    known = length[np.isfinite(length)]
    if not len(known):
        return FlowCheck(0.0, np.nan, np.nan)
    return FlowCheck(len(known) / len(length), float(np.median(known)), float(known.max()))


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


def _summary(video: Video, readings: list[Reading[FrameCheck]]) -> VideoCheck:
    found = [reading.found for reading in readings if reading.found is not None]
    known = [one for one in found if one.known > 0]
    sizes = {reading.size for reading in readings if reading.size is not None}

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    return VideoCheck(
        video.name,
        video.length - (len(readings) - len(found)),
        video.length,
        tuple(sorted(sizes)),
        min((one.low for one in known), default=np.nan),
        float(np.median([one.median for one in known])) if known else np.nan,
        max((one.high for one in known), default=np.nan),
        mean([one.known for one in found]),
        mean([one.valid for one in found]),
        bool(found) and all(one.pose for one in found),
        _flow_summary([one.flow for one in found if one.flow is not None]),
    )


def _flow_summary(found: Sequence[FlowCheck]) -> FlowCheck | None:
    if not found:
        return None
    known = [one for one in found if one.known > 0]
    return FlowCheck(
        sum(one.known for one in found) / len(found),
        float(np.median([one.median for one in known])) if known else np.nan,
        max((one.longest for one in known), default=np.nan),
    )
