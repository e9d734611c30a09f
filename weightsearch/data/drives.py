"""Gapless stretches of a recording, and the listed frames in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from weightsearch.data.images import one_each
from weightsearch.data.source import Listed, SplitName, Video
from weightsearch.errors import DataError

Stretch = tuple[Video, list[Path]]


def stretches(pictures: Iterable[Path]) -> list[list[Path]]:
    """The images of one folder, sorted and cut where a number is missing: images on both sides of a gap are not
    neighbours. Raises DataError for a name that is not a number."""
    runs: list[list[Path]] = []
    ordered = sorted(pictures, key=number_of)
    for before, picture in pairwise([None, *ordered]):
        if picture is None:
            continue
        if before is None or number_of(picture) != number_of(before) + 1:
            runs.append([])
        runs[-1].append(picture)
    return runs


def listed_stretches(lists: Mapping[SplitName, Sequence[Path]], offsets: Sequence[int]) -> list[Stretch]:
    """The stretches of the recordings that contain the listed images, each as a video with the split and list position
    of its listed frames. A stretch ends with the last neighbour of its last listed frame. Raises DataError for a
    missing image."""
    wanted: dict[Path, dict[int, list[tuple[SplitName, int]]]] = {}
    for split, pictures in lists.items():
        for position, picture in enumerate(dict.fromkeys(pictures)):
            wanted.setdefault(picture.parent, {}).setdefault(number_of(picture), []).append((split, position))
    pieces: list[Stretch] = []
    for folder, frames in sorted(wanted.items()):
        first, last = min(frames) + min(0, *offsets), max(frames) + max(0, *offsets)
        there = [picture for picture in one_each(folder.glob("*")) if picture.stem.isdecimal()]
        missing = sorted(set(frames) - {number_of(picture) for picture in there})
        if missing:
            more = f", nor {len(missing) - 1} more of this folder" if len(missing) > 1 else ""
            raise DataError(f"{folder / f'{missing[0]:010d}.png'}: no such file{more}; a split file names it")
        for pictures in stretches(picture for picture in there if first <= number_of(picture) <= last):
            numbers = [number_of(picture) for picture in pictures]
            mine = tuple(
                Listed(split, position, index)
                for index, number in enumerate(numbers)
                for split, position in frames.get(number, ())
            )
            if mine:
                name = f"{folder.parents[1].name}/{folder.parent.name} {numbers[0]}-{numbers[-1]}"
                pieces.append((Video(name, len(pictures), listed=mine), pictures))
    return pieces


def number_of(picture: Path) -> int:
    """The frame number in an image's name. Raises DataError."""
    if not picture.stem.isdecimal():
        raise DataError(
            f"{picture}: expected a number such as 0000000012, because consecutive frames have consecutive numbers"
        )
    return int(picture.stem)
