"""The order of images in time, by the numbers in their names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Final

NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
LONGER: Final = 1.5  # usual steps; frames are missing in a longer step


def place_in_time(path: Path) -> tuple[str, Decimal | None]:
    """The part of an image's name that all images of its video share, and its number: a frame number or a time, None if
    the name has no number. `room/frame-000012.color.png` -> `room/frame-#.color`, 12."""
    numbers = list(NUMBER.finditer(path.stem))
    if not numbers:
        return str(path.parent / path.stem), None
    last = numbers[-1]
    name = f"{path.stem[: last.start()]}#{path.stem[last.end() :]}"
    return str(path.parent / name), Decimal(last.group())


def videos_of(pictures: Sequence[Path]) -> list[range]:
    """Runs of consecutive images: of one folder, with names that differ in the last number only, and without a step
    longer than usual, in which frames are missing. Raises Backwards if the numbers do not grow."""
    positions = [place_in_time(picture) for picture in pictures]
    edges = [index for index in range(1, len(positions)) if positions[index][0] != positions[index - 1][0]]
    runs: list[range] = []
    for start, end in itertools.pairwise([0, *edges, len(positions)] if pictures else []):
        numbers = [number for _, number in positions[start:end] if number is not None]
        steps = [later - before for before, later in itertools.pairwise(numbers)]
        for index, step in enumerate(steps, start=start + 1):
            if step <= 0:
                raise Backwards(index)
        longest = LONGER * float(median(steps)) if steps else 0.0
        cuts = [index for index, step in enumerate(steps, start=start + 1) if float(step) > longest]
        runs += [range(first, last) for first, last in itertools.pairwise([start, *cuts, end])]
    return runs


def leaps(names: Sequence[str], lengths: Sequence[int]) -> set[int]:
    """The indices of the frames before which others are missing: their names differ from the previous ones in the last
    number only, by more than the video's usual step. Videos whose numbers do not grow are skipped. lengths: of the
    consecutive videos."""
    breaks: set[int] = set()
    start = 0
    for length in lengths:
        positions = [place_in_time(Path(name)) for name in names[start : start + length]]
        steps: dict[int, Decimal] = {}
        for index, (before, here) in enumerate(itertools.pairwise(positions), start=start + 1):
            if before[0] == here[0] and before[1] is not None and here[1] is not None:
                steps[index] = here[1] - before[1]
        if steps and min(steps.values()) > 0:
            longest = LONGER * float(median(steps.values()))
            breaks |= {index for index, step in steps.items() if float(step) > longest}
        start += length
    return breaks


class Backwards(Exception):
    """An image whose number is not above the previous image's. index: the image's index."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index
