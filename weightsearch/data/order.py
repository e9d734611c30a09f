"""True if pictures follow one another in time, by the numbers in their names."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Final

NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
LONGER: Final = 1.5  # steps, beyond which frames are missing


def place_in_time(path: Path) -> tuple[str, Decimal | None]:
    """The part of a picture's name that all pictures of its video have, and its number: a frame number or a time, None
    if the name has none. `room/frame-000012.color.png` -> `room/frame-#.color`, 12."""
    numbers = list(NUMBER.finditer(path.stem))
    if not numbers:
        return str(path.parent / path.stem), None
    last = numbers[-1]
    name = f"{path.stem[: last.start()]}#{path.stem[last.end() :]}"
    return str(path.parent / name), Decimal(last.group())


def videos_of(pictures: Sequence[Path]) -> list[range]:
    """Runs of pictures that follow one another: of one folder, of the same name but for its last number, and without a
    step that is longer than the usual one, where frames are missing. Raises Backwards where the numbers do not grow."""
    places = [place_in_time(picture) for picture in pictures]
    edges = [index for index in range(1, len(places)) if places[index][0] != places[index - 1][0]]
    found: list[range] = []
    for start, end in itertools.pairwise([0, *edges, len(places)] if pictures else []):
        numbers = [number for _, number in places[start:end] if number is not None]
        steps = [later - before for before, later in itertools.pairwise(numbers)]
        for index, step in enumerate(steps, start=start + 1):
            if step <= 0:
                raise Backwards(index)
        longest = LONGER * float(median(steps)) if steps else 0.0
        cuts = [index for index, step in enumerate(steps, start=start + 1) if float(step) > longest]
        found += [range(first, last) for first, last in itertools.pairwise([start, *cuts, end])]
    return found


def leaps(names: Sequence[str], lengths: Sequence[int]) -> set[int]:
    """The frames before which others are missing, of videos of these lengths one after another: names that differ in
    their last number alone, by more than the video's usual step. Where numbers do not grow they say nothing."""
    found: set[int] = set()
    start = 0
    for length in lengths:
        places = [place_in_time(Path(name)) for name in names[start : start + length]]
        steps: dict[int, Decimal] = {}
        for index, (before, here) in enumerate(itertools.pairwise(places), start=start + 1):
            if before[0] == here[0] and before[1] is not None and here[1] is not None:
                steps[index] = here[1] - before[1]
        if steps and min(steps.values()) > 0:
            longest = LONGER * float(median(steps.values()))
            found |= {index for index, step in steps.items() if float(step) > longest}
        start += length
    return found


class Backwards(Exception):
    """A picture whose number is not above that of the one before it. index: the picture's."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index
