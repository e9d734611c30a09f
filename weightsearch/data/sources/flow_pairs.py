"""Image pairs with the optical flow between them, named by lists: Middlebury, KITTI 2012 and 2015, Sintel,
FlyingChairs, or your own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from weightsearch.data.flow_files import read_flow
from weightsearch.data.images import read_colour
from weightsearch.data.lists import Row, check_folder, list_file, listed, read_rows
from weightsearch.data.source import Frame, SplitName, Video, no_pose
from weightsearch.data.sources.file_list import CameraFile
from weightsearch.errors import DataError, OptionError

NONE: Final = "None"


@dataclass(frozen=True)
class Pair:
    """A pair of a list. flow: from the first image to the second; None if unknown. place: `file:line` of the list."""

    pictures: tuple[Path, Path]
    flow: Path | None
    place: str = ""


class FlowPairs:
    """root: the folder that all paths are relative to. train, validation, test: lists with a pair a line, `first second
    flow`; the flow is a `.flo` file or KITTI's 16-bit `.png`, or `None`. A pair may be in several lists, since flow is
    learned without ground truth. intrinsics: a file of three rows of three numbers, in pixels, for all images, if they
    are known. neighbours: [1], from the first image to the second.

    Depth and poses are unknown.
    """

    ground_truth: ClassVar = ("flow",)

    def __init__(
        self,
        *,
        root: Path,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        intrinsics: str | None = None,
        neighbours: tuple[int, ...] = (),
    ) -> None:
        if neighbours != (1,):
            raise OptionError("neighbours", f"must be [1], from the first image to the second; found {[*neighbours]}")
        self.camera = None if intrinsics is None else CameraFile(root / intrinsics)
        names: dict[SplitName, str | None] = {"train": train, "validation": validation, "test": test}
        self.lists: list[Path] = []
        self.parts: list[tuple[Video, Pair]] = []
        for split, name in names.items():
            if name is not None:
                self.lists.append(list_file(root, name))
                for pair in read_pairs(self.lists[-1], root):
                    self.parts.append((Video(f"{split}: {pair.pictures[0]}", 2, split), pair))
        if not self.parts:
            raise OptionError("train", "is missing; a data set needs one of the lists train, validation, test")

    def videos(self) -> list[Video]:
        return [video for video, _ in self.parts]

    def files(self) -> list[Path]:
        files = [file for _, pair in self.parts for file in (*pair.pictures, pair.flow) if file is not None]
        return [*self.lists, *files] + ([] if self.camera is None else [self.camera.path])

    def list_rows(self) -> list[tuple[str, tuple[Path, ...]]]:
        return [
            (pair.place, pair.pictures if pair.flow is None else (*pair.pictures, pair.flow)) for _, pair in self.parts
        ]

    def name(self, video: int, index: int) -> str:
        return str(self.parts[video][1].pictures[index])

    def read(self, video: int, index: int) -> Frame:
        image = read_colour(self.parts[video][1].pictures[index])
        size = (image.shape[0], image.shape[1])
        matrix = np.diag([np.nan, np.nan, 1.0]) if self.camera is None else self.camera.of(size)
        return Frame(self.name(video, index), image, np.zeros(size, dtype=np.float32), matrix, no_pose())

    def flow(self, video: int, index: int, offset: int) -> NDArray[np.float32]:  # noqa: ARG002 - it is 1
        pair = self.parts[video][1]
        if pair.flow is not None:
            return read_flow(pair.flow)
        height, width = read_colour(pair.pictures[index]).shape[:2]
        return np.full((height, width, 2), np.nan, dtype=np.float32)


def read_pairs(path: Path, root: Path) -> list[Pair]:
    """The pairs of a list. Raises DataError that names the faulty line."""
    pairs: list[Pair] = []
    for row in read_rows(path, "the list"):
        if len(row.words) != 3:
            raise DataError(f"{row.place}: expected 'first second flow' (or {NONE}), found {row.text!r}")
        _check_columns(row)
        first, second = (listed(root, word) for word in row.words[:2])
        if not pairs:
            check_folder(row, first, row.words[0], root, "root")
        flow = row.words[2]
        pairs.append(Pair((first, second), None if flow == NONE else listed(root, flow), row.place))
    if not pairs:
        raise DataError(f"{path}: the list is empty")
    return pairs


def _check_columns(row: Row) -> None:
    """Raise DataError if a file's suffix is not that of an image or of optical flow."""
    *images, flow = row.words
    wrong = [f"{word!r} cannot be an image" for word in images if word.lower().endswith(".flo")]
    if flow != NONE and not flow.lower().endswith((".flo", ".png")):
        wrong.append(f"{flow!r} cannot be flow, which is a .flo file or a 16-bit .png")
    if wrong:
        raise DataError(f"{row.place}: {wrong[0]}; columns exchanged? expected 'first second flow' (or {NONE})")
