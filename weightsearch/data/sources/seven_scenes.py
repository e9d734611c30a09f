"""7-Scenes (Shotton et al. 2013): Kinect videos of rooms with depth and camera poses.

Layout: `<root>/seq-01/frame-000000.color.{png,jpg}`, `.depth.png` (uint16 millimetres, 0 and 65535 unknown),
`.pose.txt` (4x4, camera to world, metres).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from weightsearch.data.images import one_each, read_colour, read_uint16
from weightsearch.data.source import Frame, Video
from weightsearch.data.units import Unit, to_metres
from weightsearch.errors import DataError

FOCAL: Final = 585.0


class SevenScenes:
    """root: the folder of a scene, which contains `seq-*`. sequences: names of the sequences to use (default: all).
    stride: use every n-th frame. focal: focal length of the colour camera, pixels at a width of 640. depth_focal: focal
    length of the depth camera, if it differs (585): depth is then mapped to the colour camera's image, as if both
    cameras had the same position. The data set states 585 for both; 525 fits its colour images better, which matters
    for warping."""

    ground_truth: ClassVar = ("depth", "pose")

    unit = Unit()

    def __init__(
        self,
        *,
        root: Path,
        sequences: list[str] | None = None,
        stride: Annotated[int, Field(ge=1)] = 1,
        focal: Annotated[float, Field(gt=0)] = FOCAL,
        depth_focal: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        self.root = root
        self.names = sequences
        self.stride = stride
        self.focal = focal
        self.zoom = (depth_focal or focal) / focal

    @cached_property
    def _frames(self) -> dict[str, list[Path]]:
        """Sequence -> the RGB images of its frames, in order."""
        names = self.names
        if names is None:
            names = sorted(folder.name for folder in self.root.glob("seq-*") if folder.is_dir())
        if not names:
            raise DataError(f"data.root: {self.root} has no folder seq-*")
        frames: dict[str, list[Path]] = {}
        for name in names:
            folder = self.root / name
            if not folder.is_dir():
                raise DataError(f"data.sequences: no such folder: {folder}")
            pictures = one_each(folder.glob("frame-*.color.*"))
            frames[name] = pictures[:: self.stride]
            if not frames[name]:
                raise DataError(f"data.root: {folder} has no frame-*.color.png or .jpg")
        return frames

    def videos(self) -> list[Video]:
        return [Video(name, len(frames)) for name, frames in self._frames.items()]

    def files(self) -> list[Path]:
        pictures = [path for frames in self._frames.values() for path in frames]
        return [file for path in pictures for file in (path, *self._beside(path))]

    def name(self, video: int, index: int) -> str:
        return str(list(self._frames.values())[video][index])

    def read(self, video: int, index: int) -> Frame:
        colour_file = list(self._frames.values())[video][index]
        depth_file, pose_file = self._beside(colour_file)
        image = read_colour(colour_file)
        raw = read_uint16(depth_file)
        if raw.shape != image.shape[:2]:
            raise DataError(
                f"{depth_file}: {raw.shape[1]}x{raw.shape[0]} pixels, its RGB image has "
                f"{image.shape[1]}x{image.shape[0]}"
            )
        height, width = raw.shape
        depth = zoomed(to_metres(raw, self.unit), self.zoom)
        focal = self.focal * width / 640
        intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
        return Frame(str(colour_file), image, depth, intrinsics, _read_pose(pose_file))

    @staticmethod
    def _beside(colour_file: Path) -> tuple[Path, Path]:
        stem = colour_file.name.split(".")[0]
        return colour_file.with_name(f"{stem}.depth.png"), colour_file.with_name(f"{stem}.pose.txt")


def zoomed(depth: NDArray[np.float32], zoom: float) -> NDArray[np.float32]:
    """Map depth from a camera to another at the same position, by nearest neighbours; metres, [H, W], 0 outside the
    first camera's image. zoom: the first camera's focal length over the other's."""
    if zoom == 1:
        return depth
    nearest = []
    for side in depth.shape:
        there = np.rint(side / 2 + (np.arange(side) - side / 2) * zoom).astype(np.int64)
        nearest.append(np.where((there >= 0) & (there < side), there, -1))
    rows, columns = nearest
    unseen = (rows < 0)[:, None] | (columns < 0)
    return np.where(unseen, np.float32(0), depth[rows[:, None], columns])


def _read_pose(path: Path) -> NDArray[np.float64]:
    try:
        pose = np.array([float(word) for word in path.read_text().split()])
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
    if pose.shape != (16,):
        raise DataError(f"{path}: expected 16 numbers, found {pose.size}")
    if not np.isfinite(pose).all():
        raise DataError(f"{path}: a number of the pose is not finite")
    return pose.reshape(4, 4)
