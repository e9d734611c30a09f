"""Checks of listed frames without reading an image: missing files, frames that occur twice or in two splits."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from weightsearch.config.schema import Configuration
from weightsearch.data.source import Source, SplitName, Video
from weightsearch.errors import DataError, counted

NAMED: Final = 2  # frames that a warning lists


@runtime_checkable
class Listing(Protocol):
    """A data set whose frames are named by lists."""

    def list_rows(self) -> Sequence[tuple[str, tuple[Path, ...]]]:
        """`file:line` of each row that names frames, and the files of these frames."""
        ...


def check_files(source: Source) -> None:
    """Raise DataError that names the first missing file of the data set's lists, with its line. Opens no file."""
    if not isinstance(source, Listing):
        return
    rows = source.list_rows()
    missing = [(location, file) for location, files in rows for file in files if not os.path.isfile(file)]  # noqa: PTH113 - fast
    if missing:
        location, file = missing[0]
        of = sum(len(files) for _, files in rows)
        more = f"; {len(missing)} of the {of} files that the lists name are missing" if len(missing) > 1 else ""
        raise DataError(f"{location}: no such file: {file}{more}")


def names_of_all(source: Source, videos: Sequence[Video]) -> list[str] | None:
    """The names of all frames; None if the data set does not know them without reading the frames."""
    name = getattr(source, "name", None)
    if not callable(name):
        return None
    return [name(number, index) for number, video in enumerate(videos) for index in range(video.length)]


def example_noun(configuration: Configuration) -> str:
    """The noun for a split's examples: `frame`, or `pair` for a data set of image pairs."""
    return "pair" if configuration.data.name == "flow_pairs" else "frame"


def frame_warnings(
    configuration: Configuration,
    videos: Sequence[Video],
    names: Sequence[str],
    splits: Mapping[SplitName, Sequence[int]],
) -> list[str]:
    """A line for each split in which a frame occurs more than once, and for every two splits that share frames. names:
    of all frames. splits: frame indices of each split."""
    data = configuration.data
    lines: list[str] = []
    if ":" not in data.name:  # a user's data set may give several frames one name
        for split, indices in splits.items():
            lines += _repeated(example_noun(configuration), split, names, indices, data.neighbours)
    if not data.neighbours or any(video.listed is not None for video in videos):
        lines += _shared({split: {names[index] for index in indices} for split, indices in splits.items()})
    return lines


def _repeated(
    noun: str, split: SplitName, names: Sequence[str], indices: Sequence[int], offsets: Sequence[int]
) -> list[str]:
    """A line about the frames that occur more than once in a split; the same frame with other neighbours is another
    example."""
    occurrences = Counter(
        (names[index], *(names[index + offset] for offset in offsets if 0 <= index + offset < len(names)))
        for index in indices
        if names[index]  # a frame that cannot be read has none
    )
    twice = [frames[0] for frames, count in occurrences.items() if count > 1]
    if not twice:
        return []
    what = counted(len(twice), f"{noun} stands", f"{noun}s stand")
    return [f"data: {what} more than once in {split}: {', '.join(twice[:NAMED])}"]


def _shared(names: Mapping[SplitName, set[str]]) -> list[str]:
    lines: list[str] = []
    for first, second in itertools.combinations(names, 2):
        both = sorted((names[first] & names[second]) - {""})
        if both:
            lines.append(
                f"data: {counted(len(both), 'frame is', 'frames are')} in {first} and in {second}: "
                f"{', '.join(both[:NAMED])}"
            )
    return lines
