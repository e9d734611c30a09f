"""Images and depth maps named by lists, a frame a line: `rgb depth`, or `rgb depth focal` as in BTS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from weightsearch.data.images import read_array, read_colour, read_uint16
from weightsearch.data.lists import Row, check_folder, list_file, listed, read_rows
from weightsearch.data.order import Backwards, videos_of
from weightsearch.data.source import Frame, SplitName, Video, no_pose
from weightsearch.data.text import read_text
from weightsearch.data.units import Stored, Unit, stored_as, to_metres
from weightsearch.errors import DataError, OptionError

NONE: Final = "None"
NO_DEPTH: Final = (".jpg", ".jpeg", ".webp", ".bmp")  # formats without 16 bits
SHORTEST: Final = 0.1  # focal length as a share of the image's size: a field of view of 157 degrees


@dataclass(frozen=True)
class Entry:
    """A frame of a list. colour: the image. depth: the depth map, None if unknown. focal: focal length in pixels, NaN
    if the list has none. place: `file:line` of the list."""

    colour: Path
    depth: Path | None
    focal: float
    place: str = ""


class FileList:
    """root: the folder that all other paths are relative to. train, validation, test: the lists, with a line `image
    depth` or `image depth focal` for each frame; without a validation list, the end of the training list is the
    validation split. train_root, validation_root, test_root: the folder of the paths in that list (BTS has `sync` and
    `official_splits/test`). depth_root: the folder of the depth maps of all lists, if it is another one. depth_scale:
    units per metre of depth that is stored as integers, in 16-bit images and integer `.npy` files (NYU 1000, KITTI 256,
    TUM RGB-D 5000). float_scale: units per metre of depth in `.npy` files of floats (1: metres). Unknown depth is 0,
    NaN, infinity or the largest value of an integer type (65535). sparse: depth is known at single pixels. intrinsics:
    a file of three rows of three numbers, in pixels of the images' own size, for all frames; without it the principal
    point is the image centre. Frames whose depth is `None` are left out; a focal length (pixels) may be `None` too.
    neighbours: if frames need neighbours, consecutive images of one folder in a list form a video; images without depth
    belong to it, and a line may name an image alone. The images must be in the order in which they were taken, by the
    last number in their names; a new video begins where frames are missing or the rest of the name changes.

    Poses are unknown.
    """

    ground_truth: ClassVar = ("depth",)

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
        float_scale: Annotated[float, Field(gt=0)] = 1.0,
        sparse: bool = False,
        intrinsics: str | None = None,
        neighbours: tuple[int, ...] = (),
    ) -> None:
        self.unit = Unit(depth_scale, float_scale, adjustable=True)
        self.sparse = sparse
        self.camera = None if intrinsics is None else CameraFile(root / intrinsics)
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
                image_root = root / folder
                depths = image_root if depth_root is None else root / depth_root
                self.lists.append(list_file(root, name))
                entries, without = read_list(
                    self.lists[-1], image_root, depths, f"{split}_root", whole=bool(neighbours)
                )
                self.left_out += without
                if neighbours:
                    self.parts += [(Video(where, len(own), split), own) for where, own in _videos(entries)]
                else:
                    self.parts.append((Video(name, len(entries), split, mixed=True, ordered=False), entries))
        if not self.parts:
            raise OptionError("train", "is missing; a data set needs one of the lists train, validation, test")

    def videos(self) -> list[Video]:
        return [video for video, _ in self.parts]

    def files(self) -> list[Path]:
        frames = [
            file for _, entries in self.parts for entry in entries for file in (entry.colour, entry.depth) if file
        ]
        return [*self.lists, *frames] + ([] if self.camera is None else [self.camera.path])

    def list_rows(self) -> list[tuple[str, tuple[Path, ...]]]:
        return [
            (entry.place, (entry.colour,) if entry.depth is None else (entry.colour, entry.depth))
            for _, entries in self.parts
            for entry in entries
        ]

    def stored(self) -> Stored:
        """The storage type of depth: that of the first `.npy` file in a list of such files, else 16-bit images."""
        files = (entry.depth for _, entries in self.parts for entry in entries if entry.depth is not None)
        first = next(files, None)
        if first is None or first.suffix.lower() != ".npy":
            return "integers"
        return stored_as(read_array(first, mapped=True))

    def name(self, video: int, index: int) -> str:
        return str(self.parts[video][1][index].colour)

    def read(self, video: int, index: int) -> Frame:
        entry = self.parts[video][1][index]
        image = read_colour(entry.colour)
        height, width = image.shape[:2]
        if entry.depth is None:
            depth = np.zeros((height, width), dtype=np.float32)
        else:
            depth = read_depth(entry.depth, self.unit)
        if depth.shape != (height, width):
            raise DataError(
                f"{entry.depth}: {depth.shape[1]}x{depth.shape[0]} pixels, its RGB image has {width}x{height}"
            )
        if self.camera is not None:
            matrix = self.camera.of((height, width))
        else:
            matrix = np.array([[entry.focal, 0, (width - 1) / 2], [0, entry.focal, (height - 1) / 2], [0, 0, 1.0]])
        return Frame(self.name(video, index), image, depth, matrix, no_pose(), sparse=self.sparse)


def read_list(path: Path, root: Path, depth_root: Path, option: str, *, whole: bool = False) -> tuple[list[Entry], int]:
    """The frames of a list that have depth, and the number of frames without. root, option: the folder of the list's
    images, and the key of the data section that names it. whole: include frames without depth. Raises DataError that
    names the faulty line."""
    entries: list[Entry] = []
    without = 0
    for number, row in enumerate(read_rows(path, "the list")):
        colour, depth, focal = _entry(row, whole=whole)
        _check_columns(row, colour, depth)
        picture = listed(root, colour)
        if number == 0:
            check_folder(row, picture, colour, root, option)
        if depth == NONE and not whole:
            without += 1
        else:
            entries.append(Entry(picture, None if depth == NONE else listed(depth_root, depth), focal, row.place))
    if not entries:
        raise DataError(f"{path}: no frame of the list has depth" if without else f"{path}: the list is empty")
    return entries, without


def _entry(row: Row, *, whole: bool) -> tuple[str, str, float]:
    """A row's image, its depth map and its focal length in pixels, NaN without one. Raises DataError."""
    words = (*row.words, NONE) if whole and len(row.words) == 1 else row.words
    if len(words) == 4 and _is_number(words[0]) and _is_number(words[2]):
        words = (words[1], words[3])  # TUM RGB-D: `time rgb time depth`
    quotes = "; names with spaces stand in quotes"
    if len(words) not in (2, 3):
        alone = "'rgb', " if whole else ""
        more = quotes if len(words) > 3 else ""
        raise DataError(f"{row.place}: expected {alone}'rgb depth' or 'rgb depth focal', found {row.text!r}{more}")
    if len(words) == 2 or words[2] == NONE:
        return words[0], words[1], np.nan
    focal = float(words[2]) if _is_number(words[2]) else np.nan
    if not 0 < focal < np.inf:
        more = quotes if "." in words[2] and np.isnan(focal) else ""
        raise DataError(f"{row.place}: expected a focal length in pixels or {NONE}, found {words[2]!r}{more}")
    return words[0], words[1], focal


def _check_columns(row: Row, colour: str, depth: str) -> None:
    """Raise DataError if a file's suffix is not that of an image or of a depth map."""
    if depth.lower().endswith(NO_DEPTH):
        what = f"{depth!r} cannot be depth, which is a 16-bit .png or a .npy file"
    elif colour.lower().endswith(".npy"):
        what = f"{colour!r} cannot be an image"
    else:
        return
    raise DataError(f"{row.place}: {what}; columns exchanged? expected 'rgb depth' or 'rgb depth focal'")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _videos(entries: Sequence[Entry]) -> list[tuple[str, list[Entry]]]:
    """The videos of a list, with their names. Raises DataError for frames that are not in the order in which they were
    taken."""
    try:
        runs = videos_of([entry.colour for entry in entries])
    except Backwards as error:
        before, entry = entries[error.index - 1 : error.index + 1]
        raise DataError(
            f"{entry.place}: {entry.colour.name} stands after {before.colour.name}; with data.neighbours the "
            "images of a video must be in the order in which they were taken: sort the list"
        ) from None
    parents = [entries[run[0]].colour.parent for run in runs]
    return [
        (str(parent) if parents.count(parent) == 1 else str(entries[run[0]].colour), [entries[index] for index in run])
        for parent, run in zip(parents, runs, strict=True)
    ]


class CameraFile:
    """A file of three rows of three numbers: the intrinsics of the camera of all images. Raises DataError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.intrinsics = _read_intrinsics(path)

    def of(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """The intrinsics of an image of this height and width, pixels, [3, 3]. Raises DataError if they do not fit its
        size: they may be in shares of the image, or for another resolution."""
        height, width = size
        (fx, _, cx), (_, fy, cy), _ = self.intrinsics
        if min(fx / width, fy / height) < SHORTEST or not (0 <= cx < width and 0 <= cy < height):
            raise DataError(
                f"{self.path}: focal lengths {fx:g} and {fy:g} and a principal point ({cx:g}, {cy:g}) are not those of "
                f"images of {width}x{height} pixels; intrinsics are in pixels of the files' own size"
            )
        return self.intrinsics.copy()


def _read_intrinsics(path: Path) -> NDArray[np.float64]:
    """Read intrinsics, pixels, [3, 3]. Raises DataError."""
    lines = [line.split("#")[0] for line in read_text(path, "the intrinsics").splitlines()]
    try:
        matrix = np.array([[float(word) for word in line.replace(",", " ").split()] for line in lines if line.strip()])
    except ValueError:
        matrix = np.empty(0)
    right = matrix.shape == (3, 3) and np.isfinite(matrix).all() and (matrix[[0, 1], [0, 1]] > 0).all()
    if not right or not np.array_equal(matrix[2], [0, 0, 1]):
        raise DataError(f"{path}: expected intrinsics in pixels, three rows 'fx 0 cx', '0 fy cy', '0 0 1'")
    return matrix


def read_depth(path: Path, unit: Unit) -> NDArray[np.float32]:
    """Read a depth map, metres, [H, W], 0 where unknown. Raises DataError."""
    depth = read_uint16(path) if path.suffix.lower() != ".npy" else read_array(path)
    if depth.ndim != 2:
        raise DataError(f"{path}: expected an array [H, W], found {list(depth.shape)}")
    metres = to_metres(depth, unit)
    if (metres < 0).any():
        raise DataError(f"{path}: depth is negative; unknown depth is 0")
    return metres
