"""Cutting videos into train, validation and test by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from weightsearch.data.source import Video
from weightsearch.errors import DataError
from weightsearch.spec.sections import Split

SplitName = Literal["train", "validation", "test"]
SPLITS: Final[tuple[SplitName, ...]] = ("train", "validation", "test")


def cut(videos: Sequence[Video], split: Split) -> dict[SplitName, list[int]]:
    """Indices into the frames of all videos, one after another. Each video is cut at the same fractions: train first,
    then `gap` frames left out, validation, `gap` frames, test. Raises DataError if train or validation gets none."""
    result: dict[SplitName, list[int]] = {name: [] for name in SPLITS}
    start = 0
    for video in videos:
        edges = [0.0, split.train, split.train + split.validation, split.train + split.validation + split.test]
        marks = [start + round(edge * video.length) for edge in edges]
        for position, name in enumerate(SPLITS):
            first = marks[position] + (split.gap if position else 0)
            result[name].extend(range(first, max(first, marks[position + 1])))
        start += video.length
    for name in SPLITS:
        if not result[name] and getattr(split, name) > 0:
            longest = max((video.length for video in videos), default=0)
            raise DataError(
                f"data.split: {name} gets no frame: {getattr(split, name):g} of the longest video ({longest} frames) "
                f"less a gap of {split.gap}"
            )
    return result
