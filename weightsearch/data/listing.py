"""Checks of the frames that lists name, without an image: files that are missing, frames that stand twice or in two
splits."""

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

NAMED: Final = 2  # frames that a warning names


@runtime_checkable
class Listing(Protocol):
    """A data set whose frames are named by lists."""

    def list_rows(self) -> Sequence[tuple[str, tuple[Path, ...]]]:
        """The place (`file:line`) of each row that names frames, and the files of these frames."""
        ...


def check_files(source: Source) -> None:
    """Raise DataError that names the first missing file of the data set's lists, with its line. Looks at no file's
    content."""
    if not isinstance(source, Listing):
        return
    rows = source.list_rows()
    missing = [(place, file) for place, files in rows for file in files if not os.path.isfile(file)]  # noqa: PTH113 - fast
    if missing:
        place, file = missing[0]
        of = sum(len(files) for _, files in rows)
        more = f"; {len(missing)} of the {of} files that the lists name are missing" if len(missing) > 1 else ""
        raise DataError(f"{place}: no such file: {file}{more}")


def names_of_all(source: Source, videos: Sequence[Video]) -> list[str] | None:
    """The names of all frames; None if the data set cannot tell them without reading its frames."""
    name = getattr(source, "name", None)
    if not callable(name):
        return None
    return [name(number, index) for number, video in enumerate(videos) for index in range(video.length)]


def example_noun(configuration: Configuration) -> str:
    """`frame` or, of a data set of image pairs, `pair`: the examples that a split counts."""
    return "pair" if configuration.data.name == "flow_pairs" else "frame"


def frame_warnings(
    configuration: Configuration,
    videos: Sequence[Video],
    names: Sequence[str],
    splits: Mapping[SplitName, Sequence[int]],
) -> list[str]:
    """A line for each split in which a frame stands more than once, and for every two splits that have frames in
    common. names: of all frames. splits: indices into them."""
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
    """A frame with other neighbours is another example."""
    found = Counter(
        (names[index], *(names[index + offset] for offset in offsets if 0 <= index + offset < len(names)))
        for index in indices
        if names[index]  # a frame that cannot be read has none
    )
    twice = [frames[0] for frames, count in found.items() if count > 1]
    if not twice:
        return []
    what = counted(len(twice), f"{noun} stands", f"{noun}s stand")
    return [f"data: {what} more than once in {split}: {', '.join(twice[:NAMED])}"]


def _shared(names: Mapping[SplitName, set[str]]) -> list[str]:
    lines: list[str] = []
    for one, other in itertools.combinations(names, 2):
        both = sorted((names[one] & names[other]) - {""})
        if both:
            lines.append(
                f"data: {counted(len(both), 'frame is', 'frames are')} in {one} and in {other}: "
                f"{', '.join(both[:NAMED])}"
            )
    return lines
