"""Pictures and their depth named by lists, a frame a line: `rgb depth`, or `rgb depth focal` as BTS has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from weightsearch.data.images import read_array, read_colour, read_uint16
from weightsearch.data.source import Frame, SplitName, Video, no_pose
from weightsearch.data.text import read_text
from weightsearch.errors import DataError, OptionError

NONE: Final = "None"


@dataclass(frozen=True)
class Entry:
    """focal: pixels, NaN where the list has none."""

    colour: Path
    depth: Path
    focal: float


class FileList:
    """root: the folder that all other paths are relative to (there a `/` before a path does not matter). train,
    validation, test: the lists; without one to validate on, the end of the training list is left for it. train_root,
    validation_root, test_root: the folder of the paths in that list (BTS has `sync` and `official_splits/test`).
    depth_root: of the second column of all lists, if it is another folder. depth_scale: what the 16-bit depth pictures
    hold a metre (NYU 1000, KITTI 256); `.npy` files are metres, with 0, NaN or infinity where depth is not known.
    sparse: depth is known at single pixels. Frames whose depth is `None` are left out; a focal length (pixels) may be
    `None` too. Paths have no spaces in them.

    Poses are not known; neither is the principal point, which is taken to be the picture's centre.
    """

    def __init__(
        self,
        *,
        root: Path,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        train_root: str = ".",
        validation_root: str = ".",
        test_root: str = ".",
        depth_root: str | None = None,
        depth_scale: Annotated[float, Field(gt=0)] = 1000.0,
        sparse: bool = False,
    ) -> None:
        self.depth_scale = depth_scale
        self.sparse = sparse
        lists: dict[SplitName, tuple[str | None, str]] = {
            "train": (train, train_root),
            "validation": (validation, validation_root),
            "test": (test, test_root),
        }
        self.left_out = 0
        self.lists: list[Path] = []
        self.parts: list[tuple[Video, list[Entry]]] = []
        for split, (name, folder) in lists.items():
            if name is not None:
                place = root / folder
                entries, without = read_list(root / name, place, place if depth_root is None else root / depth_root)
                self.left_out += without
                self.lists.append(root / name)
                self.parts.append((Video(name, len(entries), split, mixed=True), entries))
        if not self.parts:
            raise OptionError("train", "is missing; a data set needs one of the lists train, validation, test")

    def videos(self) -> list[Video]:
        return [video for video, _ in self.parts]

    def files(self) -> list[Path]:
        frames = [file for _, entries in self.parts for entry in entries for file in (entry.colour, entry.depth)]
        return [*self.lists, *frames]

    def name(self, video: int, index: int) -> str:
        return str(self.parts[video][1][index].colour)

    def read(self, video: int, index: int) -> Frame:
        entry = self.parts[video][1][index]
        image = read_colour(entry.colour)
        depth = read_depth(entry.depth, self.depth_scale)
        height, width = image.shape[:2]
        if depth.shape != (height, width):
            raise DataError(
                f"{entry.depth}: {depth.shape[1]}x{depth.shape[0]} pixels, its colour picture has {width}x{height}"
            )
        matrix = np.array([[entry.focal, 0, (width - 1) / 2], [0, entry.focal, (height - 1) / 2], [0, 0, 1.0]])
        return Frame(self.name(video, index), image, depth, matrix, no_pose(), sparse=self.sparse)


def read_list(path: Path, root: Path, depth_root: Path) -> tuple[list[Entry], int]:
    """The frames of a list that have depth, and how many have none. Raises DataError that names the line at fault."""
    lines = read_text(path, "the list").splitlines()
    entries: list[Entry] = []
    without = 0
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) not in (2, 3):
            raise DataError(f"{path}:{number}: expected 'rgb depth' or 'rgb depth focal', found {line!r}")
        try:
            focal = float(words[2]) if len(words) == 3 and words[2] != NONE else np.nan
            right = len(words) == 2 or words[2] == NONE or 0 < focal < np.inf
        except ValueError:
            right = False
        if not right:
            raise DataError(f"{path}:{number}: expected a focal length in pixels or {NONE}, found {words[2]!r}")
        if words[1] == NONE:
            without += 1
        else:
            entries.append(Entry(root / words[0].lstrip("/"), depth_root / words[1].lstrip("/"), focal))
    if not entries:
        raise DataError(f"{path}: no frame of the list has depth")
    return entries, without


def read_depth(path: Path, scale: float) -> NDArray[np.float32]:
    """Metres, [H, W], 0 where unknown. Raises DataError."""
    if path.suffix.lower() != ".npy":
        return read_uint16(path).astype(np.float32) / np.float32(scale)
    depth = read_array(path)
    if depth.ndim != 2:
        raise DataError(f"{path}: expected an array [H, W], found {list(depth.shape)}")
    metres = np.nan_to_num(depth.astype(np.float32), nan=0.0, posinf=0.0)
    if (metres < 0).any():
        raise DataError(f"{path}: depth is negative; unknown depth is 0")
    return metres
