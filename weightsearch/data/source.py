"""The interface of data sets: videos of frames, and the files that show changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

SplitName = Literal["train", "validation", "test"]
Size = tuple[int, int]


def no_pose() -> NDArray[np.float64]:
    """The pose of a frame whose pose is not known: NaN."""
    return np.full((4, 4), np.nan)


@dataclass(frozen=True)
class Frame:
    """One decoded frame at its native size.

    name: its name in errors: the image file, or `room 2, frame 7`.
    image: uint8 RGB, [H, W, 3]. depth: float32 metres, [H, W], 0 where unknown.
    intrinsics: float64 pixels, [3, 3]. pose: float64 camera to world, metres, [4, 4]. Both are NaN where unknown.
    sparse: depth is known at single pixels; downsampling keeps the smallest depth in each new pixel.
    """

    name: str
    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    intrinsics: NDArray[np.float64] = field(default_factory=lambda: np.full((3, 3), np.nan))
    pose: NDArray[np.float64] = field(default_factory=no_pose)
    sparse: bool = False


@dataclass(frozen=True)
class Listed:
    """A frame that a list names. split: the list's split. place: position in the list. index: index in its video."""

    split: SplitName
    place: int
    index: int


@dataclass(frozen=True)
class Video:
    """Frames in the order they were taken. A data set of unordered images is also a video, which is cut by position.

    split: the split of all its frames; None for a video that is cut. mixed: its frames may differ in size. ordered:
    its frames follow one another in time, so that they have neighbours. listed: the frames that lists assign to splits;
    the other frames are only their neighbours. None if no list names frames of the video.
    """

    name: str
    length: int
    split: SplitName | None = None
    mixed: bool = False
    ordered: bool = True
    listed: tuple[Listed, ...] | None = None


@runtime_checkable
class Source(Protocol):
    """A data set. Its constructor's keyword arguments are the options of the study file's `data` section."""

    def videos(self) -> list[Video]:
        """The videos in a fixed order. Raises DataError if there are none."""
        ...

    def files(self) -> list[Path]:
        """Every file that the frames are read from, so that the cache detects changes; empty if they are computed."""
        ...

    def read(self, video: int, index: int) -> Frame:
        """Decode one frame. Raises DataError that names the file."""
        ...


@runtime_checkable
class Choosing(Protocol):
    """A data set that leaves out frames whose depth is missing. left_out: their number."""

    left_out: int


@runtime_checkable
class Naming(Protocol):
    """A data set that knows its frames' names without reading them."""

    def name(self, video: int, index: int) -> str:
        """The name of the frame that `read` returns."""
        ...


@runtime_checkable
class Motion(Protocol):
    """A data set that knows how its frames' pixels move."""

    def flow(self, video: int, index: int, offset: int) -> NDArray[np.float32]:
        """Optical flow from a frame to the frame `offset` frames later, pixels (x, y) of the frame's native size,
        [H, W, 2], NaN where unknown. Both frames are in the video. Raises DataError that names the file."""
        ...


@runtime_checkable
class Moving(Protocol):
    """A data set that knows which pixels show moving objects."""

    def moving(self, video: int, index: int) -> NDArray[np.bool_]:
        """The mask of a frame's pixels that show moving objects, [H, W]."""
        ...


def knows_flow(source: object) -> TypeGuard[Motion]:
    """True if a data set has optical flow; an option of the same name does not count."""
    return callable(getattr(source, "flow", None))


def knows_moving(source: object) -> TypeGuard[Moving]:
    """True if a data set has masks of moving objects."""
    return callable(getattr(source, "moving", None))
