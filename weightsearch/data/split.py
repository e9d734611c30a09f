"""Videos into train, validation and test: by the data set's own lists, or by position."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from weightsearch.data.source import SplitName, Video
from weightsearch.errors import DataError, counted
from weightsearch.spec.sections import Split

SPLITS: Final[tuple[SplitName, ...]] = ("train", "validation", "test")


def cut(videos: Sequence[Video], split: Split, needed: Collection[SplitName] = SPLITS) -> dict[SplitName, list[int]]:
    """Indices into the frames of all videos, one after another. A video of a split belongs to it whole; any other is
    cut at the same fractions: train first, then `gap` frames left out, validation, `gap` frames, test. Where a data set
    has its own training videos and none to validate on, those are cut into train and validation. Raises DataError if a
    split that is asked for, and needed, gets no frame."""
    result: dict[SplitName, list[int]] = {name: [] for name in SPLITS}
    given: dict[SplitName, float] = {}
    own = {video.split for video in videos}
    validates = "validation" in own or None in own
    start = 0
    for video in videos:
        if video.split is None:
            shares: dict[SplitName, float] = {"train": split.train, "validation": split.validation, "test": split.test}
        elif video.split == "train" and not validates:
            known = split.train + split.validation
            shares = {"train": split.train / known, "validation": split.validation / known}
        else:
            shares = {video.split: 1.0}
        given |= shares
        for name, first, last in _pieces(shares, video.length, split.gap):
            result[name].extend(range(start + first, start + last))
        start += video.length
    asked = {name for name in SPLITS if getattr(split, name) > 0} if None in own else own - {None}
    if "train" in own:
        asked.add("validation")
    for name in SPLITS:
        if name in asked and name in needed and not result[name]:
            longest = max((video.length for video in videos), default=0)
            raise DataError(
                f"data.split: {name} gets no frame: {given.get(name, 0):.3g} of the longest video "
                f"({counted(longest, 'frame')}) less a gap of {split.gap}"
            )
    return result


def with_neighbours(
    splits: dict[SplitName, list[int]], videos: Sequence[Video], offsets: Sequence[int]
) -> dict[SplitName, list[int]]:
    """Of each split the frames whose neighbours at these offsets are in the same video and in the split. Raises
    DataError where no frame of a split is left, and for frames that do not follow one another."""
    if not offsets:
        return splits
    for video in videos:
        if not video.ordered:
            raise DataError(f"data.neighbours: the frames of {video.name} do not follow one another")
    owners = [number for number, video in enumerate(videos) for _ in range(video.length)]
    result: dict[SplitName, list[int]] = {}
    for name, indices in splits.items():
        there = set(indices)
        result[name] = [
            index
            for index in indices
            if all(index + offset in there and owners[index + offset] == owners[index] for offset in offsets)
        ]
        if indices and not result[name]:
            raise DataError(
                f"data.neighbours: no frame of the split {name} has neighbours at {', '.join(map(str, offsets))} "
                "frames in it"
            )
    return result


def _pieces(shares: dict[SplitName, float], length: int, gap: int) -> Iterator[tuple[SplitName, int, int]]:
    """Each split's first frame and the one after its last, in a video of this length."""
    done = 0.0
    for position, (name, share) in enumerate(shares.items()):
        first = round(done * length) + (gap if position else 0)
        done += share
        yield name, first, max(first, round(done * length))
