"""NYU Depth v2 (Silberman et al. 2012): the labelled MATLAB file, or folders of image pairs as in the Eigen split.

Labelled file (HDF5): `images` uint8 [N, 3, W, H], `depths` (holes filled) and `rawDepths` float32 metres [N, W, H].
Folders: `<part>/<scene>/rgb_00045.jpg` beside `sync_depth_00045.png`, uint16 millimetres, 0 unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from weightsearch.data.hidden import visible
from weightsearch.data.images import one_each, read_colour, read_uint16
from weightsearch.data.lists import list_file, read_rows
from weightsearch.data.source import Frame, SplitName, Video, no_pose
from weightsearch.data.units import Unit, to_metres
from weightsearch.errors import DataError, OptionError

LABELLED: Final = "nyu_depth_v2_labeled.mat"
INTRINSICS: Final = np.array([[518.8579, 0, 325.5824], [0, 519.4696, 253.7362], [0, 0, 1.0]])  # colour, 640 x 480
NAMES: Final = {"filled": "depths", "raw": "rawDepths"}


class Nyu:
    """root: the folder of the labelled file, or of the parts. file: name of the labelled file. depth: depth of the
    labelled file, with its holes `filled` as in published evaluations, or `raw`. train, validation, test: for the
    labelled file, text files with frame numbers, counted from 1; for folders, the names of the parts (`sync`,
    `official_splits/test`). Without these options the labelled frames, or every scene's frames, are cut by position.
    Paths are relative to root."""

    ground_truth: ClassVar = ("depth",)

    unit = Unit()

    def __init__(
        self,
        *,
        root: Path,
        file: str = LABELLED,
        depth: Literal["filled", "raw"] = "filled",
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
    ) -> None:
        given: dict[SplitName, str | None] = {"train": train, "validation": validation, "test": test}
        parts = {split: name for split, name in given.items() if name is not None}
        path = root / file
        folders = bool(parts) and all((root / name).is_dir() for name in parts.values())
        if parts and not folders and not path.is_file() and all((root / name).is_file() for name in parts.values()):
            raise DataError(f"data.file: no such file: {path}")
        if folders or not path.is_file():
            if depth == "raw":
                raise OptionError("depth", f"raw depth is in {file} alone, which is not read")
            self.source: _Labelled | _Folders = _Folders(root, parts, file)
        else:
            self.source = _Labelled(root, path, NAMES[depth], parts)

    @staticmethod
    def truth_of(options: Mapping[str, Any]) -> str:
        """The name of the ground truth in the protocol."""
        return f"depth {options['depth']}"

    def videos(self) -> list[Video]:
        return self.source.videos()

    def name(self, video: int, index: int) -> str:
        return self.source.name(video, index)

    def files(self) -> list[Path]:
        return self.source.files()

    def read(self, video: int, index: int) -> Frame:
        return self.source.read(video, index)


class _Labelled:
    def __init__(self, root: Path, path: Path, name: str, parts: dict[SplitName, str]) -> None:
        self.path = path
        self.depth = name
        with self._open() as file:
            for wanted in ("images", name):
                if not isinstance(file.get(wanted), h5py.Dataset):
                    raise DataError(f"{path}: has no {wanted!r}; is it the labelled data set?")
            images, depths = file["images"].shape, file[name].shape
        if len(images) != 4 or images[1] != 3 or depths != (images[0], *images[2:]):
            raise DataError(f"{path}: images {images} and {name} {depths} are not [N, 3, W, H] and [N, W, H]")
        self.parts: list[tuple[Video, list[int]]] = []
        self.lists = [list_file(root, listed) for listed in parts.values()]
        for list_path, (split, listed) in zip(self.lists, parts.items(), strict=True):
            numbers = _numbers(list_path, images[0])
            self.parts.append((Video(listed, len(numbers), split, ordered=False), numbers))
        if not parts:
            self.parts.append((Video(path.name, images[0], ordered=False), list(range(images[0]))))

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with h5py.File(self.path, "r") as file:  # opened at each read: threads cannot share a handle
                yield file
        except OSError as error:
            reason = " ".join(str(error).split())
            if "signature not found" in reason:
                reason = "not a MATLAB file of version 7.3 (HDF5), or a damaged one"
            raise DataError(f"{self.path}: {reason}") from None

    def videos(self) -> list[Video]:
        return [video for video, _ in self.parts]

    def files(self) -> list[Path]:
        return [self.path, *self.lists]

    def name(self, video: int, index: int) -> str:
        return f"{self.path}, frame {self.parts[video][1][index] + 1}"

    def read(self, video: int, index: int) -> Frame:
        number = self.parts[video][1][index]
        with self._open() as file:
            image = np.ascontiguousarray(file["images"][number].transpose(2, 1, 0))
            depth = np.ascontiguousarray(to_metres(file[self.depth][number].T, Nyu.unit))
        return Frame(self.name(video, index), image, depth, _intrinsics(depth), no_pose())


class _Folders:
    def __init__(self, root: Path, parts: dict[SplitName, str], file: str) -> None:
        self.parts: list[tuple[Video, list[Path]]] = []
        for split, name in parts.items():
            pictures = _pictures(root / name)
            if not pictures:
                raise DataError(f"data.{split}: no rgb_*.jpg or .png below {root / name}")
            self.parts.append((Video(name, len(pictures), split, ordered=False), pictures))
        if not parts:
            scenes: dict[Path, list[Path]] = {}
            for picture in _pictures(root):
                scenes.setdefault(picture.parent, []).append(picture)
            self.parts = [
                (Video(str(scene.relative_to(root)), len(pictures)), pictures) for scene, pictures in scenes.items()
            ]
        if not self.parts:
            raise DataError(f"data.root: {root} has neither {file} nor SCENE/rgb_*.jpg")

    def videos(self) -> list[Video]:
        return [video for video, _ in self.parts]

    def files(self) -> list[Path]:
        return [file for _, pictures in self.parts for picture in pictures for file in (picture, _depth_of(picture))]

    def name(self, video: int, index: int) -> str:
        return str(self.parts[video][1][index])

    def read(self, video: int, index: int) -> Frame:
        picture = self.parts[video][1][index]
        image, raw = read_colour(picture), read_uint16(_depth_of(picture))
        if raw.shape != image.shape[:2]:
            raise DataError(
                f"{_depth_of(picture)}: {raw.shape[1]}x{raw.shape[0]} pixels, its RGB image has "
                f"{image.shape[1]}x{image.shape[0]}"
            )
        depth = to_metres(raw, Nyu.unit)
        return Frame(str(picture), image, depth, _intrinsics(depth), no_pose())


def _pictures(folder: Path) -> list[Path]:
    return one_each(visible(folder.rglob("rgb_*"), folder))


def _depth_of(picture: Path) -> Path:
    return picture.with_name(f"sync_depth_{picture.stem.removeprefix('rgb_')}.png")


def _intrinsics(depth: NDArray[np.float32]) -> NDArray[np.float64]:
    """The colour camera's intrinsics for a depth map of this size."""
    height, width = depth.shape
    return np.asarray(np.diag([width / 640, height / 480, 1.0]) @ INTRINSICS)


def _numbers(path: Path, count: int) -> list[int]:
    """Frame numbers of a text file, counted from 0. Raises DataError with file and line."""
    numbers: list[int] = []
    for row in read_rows(path, "the frame numbers in", paths=False):
        for word in row.words:
            try:
                number = float(word)
            except ValueError:
                raise DataError(f"{row.place}: expected the number of a frame, found {word!r}") from None
            if not (1 <= number <= count and number == int(number)):
                raise DataError(f"{row.place}: number {number:g}; the frames are 1 to {count}")
            numbers.append(int(number) - 1)
    if not numbers:
        raise DataError(f"{path}: no number; the frames are 1 to {count}")
    return numbers
