"""KITTI's raw recordings (Geiger et al. 2013): drives, with depth from a Velodyne laser scanner.

Layout: `<root>/<date>/calib_cam_to_cam.txt`, `calib_velo_to_cam.txt`, and for each drive
`<root>/<date>/<drive>/image_0C/data/*.{png,jpg}` and `velodyne_points/data/*.bin` (float32 x y z reflectance, metres).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from weightsearch.data.drives import Stretch, listed_stretches, number_of, stretches
from weightsearch.data.hidden import visible
from weightsearch.data.images import PICTURES, one_each, read_colour, read_uint16, scatter_nearest
from weightsearch.data.lists import list_file, listed, read_rows
from weightsearch.data.source import Frame, SplitName, Video, no_pose
from weightsearch.data.units import Unit, to_metres
from weightsearch.errors import DataError, OptionError

Array = NDArray[np.float64]
Camera = Literal[2, 3]
LaserDepth = Literal["camera", "published"]

SIDES: Final = {"l": 2, "r": 3, "2": 2, "3": 3}
LASER_DEPTHS: Final[Mapping[str, str]] = {
    "camera": "laser (camera: along the camera's axis)",
    "published": "laser (published: distance ahead of the laser, pixels shifted by -1)",
}


class KittiRaw:
    """root: the folder of the dates. train, validation, test: split files with a frame a line, `drive frame side` as in
    Monodepth2 (`2011_09_26/2011_09_26_drive_0001_sync 12 l`); without split files every drive is cut by position, and
    images without a laser scan are left out. cameras: without split files, the cameras of the frames; 2 is the left
    colour camera, 3 the right one. stride: without split files, use every n-th frame. depth_root: the folder of KITTI's
    improved depth, with `<drive>/proj_depth/groundtruth/image_0C/*.png` in it or in its folders `train` and `val`; it
    is used for the frames that it contains. without_improved: treatment of the other frames: use the depth of the
    `laser`, or `leave_out` (as published results on improved depth do). laser_depth: depth of the laser's points:
    `camera` (the distance along the camera's axis, at the pixel that the point projects to) or `published`, as in the
    ground truth of published self-supervised results (Monodepth2's export_gt_depth): the distance ahead of the laser,
    at the pixel one to the left and one up; it is .28 m more on average and not suitable for training. Paths are
    relative to root. neighbours: if frames need neighbours, drives are read as a whole, with images without depth, and
    cut where an image is missing; split files then define the frames of a split, and the other frames are only their
    neighbours.

    Depth is sparse: about 4 % of the pixels for one laser scan. Poses are unknown.
    """

    ground_truth: ClassVar = ("depth",)

    unit = Unit(integers=256.0)

    def __init__(
        self,
        *,
        root: Path,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        cameras: list[Camera] | None = None,
        depth_root: str | None = None,
        without_improved: Literal["laser", "leave_out"] = "laser",
        laser_depth: LaserDepth = "camera",
        stride: Annotated[int, Field(ge=1)] = 1,
        neighbours: tuple[int, ...] = (),
    ) -> None:
        self.root = root
        self.whole = bool(neighbours)
        self.published = laser_depth == "published"
        self.depth_root = None if depth_root is None else root / depth_root
        files: dict[SplitName, str | None] = {"train": train, "validation": validation, "test": test}
        lists = {split: list_file(root, name) for split, name in files.items() if name is not None}
        _check_lists(lists, cameras, stride, neighbours)
        _check_improved(self.depth_root, without_improved, neighbours)
        self.left_out = 0
        self.rows: list[tuple[str, tuple[Path, ...]]] = []
        parts = self._of_lists(lists, neighbours) if lists else self._of_drives(cameras or [2], stride)
        if self.depth_root is not None:
            parts = self._with_improved(parts, without_improved)
        self.parts = [part for part in parts if part[1]]
        if not self.parts:
            where = " or ".join(f"image_{camera:02d}" for camera in cameras or [2])
            with_scan = "" if self.whole else " with a scan of the laser"
            above = (
                f"; {root.name} looks like a date: name the folder above"
                if re.fullmatch(r"\d{4}_\d{2}_\d{2}", root.name)
                else ""
            )
            raise DataError(f"data.root: {root} has no DATE/DRIVE/{where}/data/*.png or .jpg{with_scan}{above}")

    @staticmethod
    def truth_of(options: Mapping[str, Any]) -> str:
        """The name of the ground truth in the protocol."""
        laser = LASER_DEPTHS[options["laser_depth"]]
        if options["depth_root"] is None:
            return laser
        return "improved depth" + (f", else {laser}" if options["without_improved"] == "laser" else "")

    def list_rows(self) -> list[tuple[str, tuple[Path, ...]]]:
        return self.rows

    def _of_lists(self, lists: Mapping[SplitName, Path], neighbours: Sequence[int]) -> list[Stretch]:
        """The frames that split files name."""
        named = {split: _listed(self.root, path) for split, path in lists.items()}
        self.rows = [(location, (picture,)) for rows in named.values() for location, picture in rows]
        frames = {split: [picture for _, picture in rows] for split, rows in named.items()}
        return listed_stretches(frames, neighbours) if neighbours else _whole_lists(lists, frames)

    def _of_drives(self, cameras: Sequence[Camera], stride: int) -> list[Stretch]:
        """Every drive; if frames need neighbours, cut where images are missing."""
        parts: list[Stretch] = []
        for drive in _drives(self.root):
            for camera in cameras:
                name = f"{drive.name}/image_{camera:02d}"
                there = one_each((drive / f"image_{camera:02d}" / "data").glob("*"))
                scanned = [picture for picture in there if self.whole or _scan(picture).is_file()]
                self.left_out += len(there) - len(scanned)
                pieces = stretches(scanned) if self.whole else [scanned]
                for piece in pieces:
                    own = name if len(pieces) == 1 else f"{name} {number_of(piece[0])}-{number_of(piece[-1])}"
                    parts.append((Video(own, len(piece[::stride])), piece[::stride]))
        return parts

    def _with_improved(self, parts: list[Stretch], without: str) -> list[Stretch]:
        """The parts; for `leave_out` without the frames that have no improved depth. Raises OptionError if no frame has
        improved depth."""
        improved = {picture for _, pictures in parts for picture in pictures if self._improved(picture)}
        if not improved:
            raise OptionError("depth_root", f"{self.depth_root} has improved depth for none of the frames")
        if without != "leave_out":
            return parts
        self.left_out += sum(picture not in improved for _, pictures in parts for picture in pictures)
        rest = [(video, [picture for picture in pictures if picture in improved]) for video, pictures in parts]
        return [(replace(video, length=len(pictures)), pictures) for video, pictures in rest]

    def videos(self) -> list[Video]:
        return [video for video, _ in self.parts]

    def files(self) -> list[Path]:
        paths: list[Path] = []
        for _, pictures in self.parts:
            for picture in pictures:
                depth = self._depth_of(picture)
                paths += [picture] if depth is None else [picture, depth]
        dates = {picture.parents[3] for _, pictures in self.parts for picture in pictures}
        return paths + [
            date / name for date in sorted(dates) for name in ("calib_cam_to_cam.txt", "calib_velo_to_cam.txt")
        ]

    def name(self, video: int, index: int) -> str:
        return str(self.parts[video][1][index])

    def read(self, video: int, index: int) -> Frame:
        picture = self.parts[video][1][index]
        image = read_colour(picture)
        size = (image.shape[0], image.shape[1])
        camera = int(picture.parents[1].name.removeprefix("image_"))
        date = picture.parents[3]
        projection = read_calibration(date / "calib_cam_to_cam.txt", f"P_rect_{camera:02d}", (3, 4))
        file = self._depth_of(picture)
        if file is None:
            depth = np.zeros(size, dtype=np.float32)
        elif file.suffix == ".png":
            raw = read_uint16(file)
            if raw.shape != size:
                raise DataError(f"{file}: {raw.shape[1]}x{raw.shape[0]} pixels, its image has {size[1]}x{size[0]}")
            depth = to_metres(raw, self.unit)
        else:
            depth = (published if self.published else project)(read_scan(file), velodyne_to_image(date, camera), size)
        return Frame(str(picture), image, depth, projection[:, :3].copy(), no_pose(), sparse=True)

    def _depth_of(self, picture: Path) -> Path | None:
        """The file of an image's depth: the improved depth, or else the laser scan. None, only if frames need
        neighbours, for an image without depth."""
        improved, scan = self._improved(picture), _scan(picture)
        return improved or (None if self.whole and not scan.is_file() else scan)

    def _improved(self, picture: Path) -> Path | None:
        """The improved depth of an image; None if there is none."""
        if self.depth_root is None:
            return None
        camera, drive = picture.parents[1].name, picture.parents[2].name
        tail = Path(drive, "proj_depth", "groundtruth", camera, f"{picture.stem}.png")
        candidates = (self.depth_root / part / tail for part in ("train", "val", "."))
        return next((path for path in candidates if path.is_file()), None)


def _check_lists(
    lists: Mapping[SplitName, Path], cameras: Sequence[Camera] | None, stride: int, neighbours: Sequence[int]
) -> None:
    """Raise OptionError for options that cannot be combined with these split files."""
    if neighbours and "train" in lists and "validation" not in lists:
        raise OptionError("validation", "found none; with data.neighbours a training list needs a validation list, too")
    if lists and (cameras is not None or stride != 1):
        raise OptionError(
            "cameras" if stride == 1 else "stride", "cannot be combined with split files, which name the frames"
        )


def _check_improved(depth_root: Path | None, without: str, neighbours: Sequence[int]) -> None:
    """Raise OptionError for a missing folder of improved depth, and for `leave_out` without such a folder or with
    neighbours."""
    if depth_root is not None and not depth_root.is_dir():
        raise OptionError("depth_root", f"no such folder: {depth_root}")
    if without != "leave_out":
        return
    if depth_root is None:
        raise OptionError("without_improved", "found leave_out without a depth_root: no frame has improved depth")
    if neighbours:
        raise OptionError(
            "without_improved",
            "found leave_out; with data.neighbours drives are read whole, so that frames keep their neighbours: "
            "set laser, and name the frames with improved depth in split files to measure on these alone",
        )


def velodyne_to_image(date: Path, camera: int) -> Array:
    """The matrix from homogeneous points of the laser (metres) to homogeneous pixels, whose third component is depth in
    metres, [3, 4]. Raises DataError for calibration files that are missing or damaged."""
    cameras, laser = date / "calib_cam_to_cam.txt", date / "calib_velo_to_cam.txt"
    rectify, move = np.eye(4), np.eye(4)
    rectify[:3, :3] = read_calibration(cameras, "R_rect_00", (3, 3))
    move[:3, :3] = read_calibration(laser, "R", (3, 3))
    move[:3, 3] = read_calibration(laser, "T", (3, 1))[:, 0]
    return np.asarray(read_calibration(cameras, f"P_rect_{camera:02d}", (3, 4)) @ rectify @ move)


def project(points: NDArray[np.float32], matrix: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    """Depth map of the laser's points, metres, [H, W], 0 at pixels without a point; the smallest depth of several
    points on a pixel. points: metres, [N, 3]. matrix: see `velodyne_to_image`; pixel centres are at integers."""
    pixels = np.column_stack([points.astype(np.float64), np.ones(len(points))]) @ matrix.T
    pixels = pixels[(points[:, 0] >= 0) & (pixels[:, 2] > 0)]  # points behind the laser are behind the camera
    columns, rows = np.rint(pixels[:, :2] / pixels[:, 2:]).T
    inside = (columns >= 0) & (columns < size[1]) & (rows >= 0) & (rows < size[0])
    return scatter_nearest(
        rows[inside].astype(np.int64), columns[inside].astype(np.int64), pixels[inside, 2].astype(np.float32), size
    )


def published(points: NDArray[np.float32], matrix: Array, size: tuple[int, int]) -> NDArray[np.float32]:
    """As `project`, but like the ground truth of published results: each point's distance ahead of the laser (metres),
    at the pixel one to the left and one up of its own, since KITTI's MATLAB code counts pixels from 1. The published
    program also mixes up single points of the first and last columns, which all of KITTI's crops exclude."""
    ahead = points[points[:, 0] >= 0]
    pixels = np.column_stack([ahead.astype(np.float64), np.ones(len(ahead))]) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        columns, rows = np.rint(pixels[:, :2] / pixels[:, 2:]).T - 1
    inside = (columns >= 0) & (columns < size[1]) & (rows >= 0) & (rows < size[0])
    return scatter_nearest(rows[inside].astype(np.int64), columns[inside].astype(np.int64), ahead[inside, 0], size)


def read_scan(path: Path) -> NDArray[np.float32]:
    """The points of a scan, metres, [N, 3]. Raises DataError."""
    try:
        values = np.fromfile(path, dtype="<f4")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    if not len(values) or len(values) % 4 or path.stat().st_size % 16:
        raise DataError(f"{path}: {path.stat().st_size} bytes, expected a multiple of 16 (four float32 a point)")
    points = values.reshape(-1, 4)[:, :3]
    if not np.isfinite(points).all():
        raise DataError(f"{path}: a point is not finite")
    return points


@cache
def read_calibration(path: Path, name: str, shape: tuple[int, int]) -> Array:
    """A matrix of a calibration file. Raises DataError if it is missing or has another size."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
    line = re.search(rf"^{re.escape(name)}:(.*)$", text, re.MULTILINE)
    try:
        values = np.array([float(word) for word in line.group(1).split()]) if line else np.empty(0)
    except ValueError:
        values = np.empty(0)
    if values.size != shape[0] * shape[1] or not np.isfinite(values).all():
        raise DataError(f"{path}: expected {shape[0] * shape[1]} finite numbers in a line '{name}:'")
    return values.reshape(shape)


def _whole_lists(lists: Mapping[SplitName, Path], frames: Mapping[SplitName, list[Path]]) -> list[Stretch]:
    """A video for each list, of frames of many drives."""
    return [
        (Video(lists[split].name, len(pictures), split, mixed=True, ordered=False), pictures)
        for split, pictures in frames.items()
    ]


def _drives(root: Path) -> list[Path]:
    return sorted(
        folder
        for folder in visible(root.glob("*/*"), root)
        if (folder / "image_02").is_dir() or (folder / "image_03").is_dir()
    )


def _scan(picture: Path) -> Path:
    return picture.parents[2] / "velodyne_points" / "data" / f"{picture.stem}.bin"


def _listed(root: Path, path: Path) -> list[tuple[str, Path]]:
    """The images that a split file names, each with its `file:line`. Raises DataError for a line that cannot be
    read."""
    frames: list[tuple[str, Path]] = []
    for row in read_rows(path, "the split file", paths=False):
        words = row.words
        if (
            len(words) not in (2, 3)
            or not re.fullmatch("[0-9]{1,10}", words[1])
            or (len(words) == 3 and words[2] not in SIDES)
        ):
            raise DataError(
                f"{row.place}: expected 'drive frame side' such as '2011_09_26/..._sync 12 l', found {row.text!r}"
            )
        camera = SIDES[words[2]] if len(words) == 3 else 2
        stem = listed(root, words[0].rstrip("/")) / f"image_{camera:02d}" / "data" / f"{int(words[1]):010d}"
        pictures = [file for suffix in PICTURES if (file := stem.with_suffix(suffix)).is_file()]
        frames.append((row.place, pictures[0] if pictures else stem.with_suffix(".png")))
    if not frames:
        raise DataError(f"{path}: the split file is empty")
    return frames
