"""What a data set has to offer: videos of frames, and a way to tell when they have changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One decoded frame at its native size.

    name: what an error calls it: the file of its picture, or `room 2, frame 7`.
    image: uint8 colour, [H, W, 3]. depth: float32 metres, [H, W], 0 where unknown.
    intrinsics: float64 pixels, [3, 3]. pose: float64 camera to world, metres, [4, 4], NaN where unknown.
    """

    name: str
    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    intrinsics: NDArray[np.float64]
    pose: NDArray[np.float64]


@dataclass(frozen=True)
class Video:
    """Frames in the order they were taken. A data set of unordered pictures is a video too, cut by position."""

    name: str
    length: int


@runtime_checkable
class Source(Protocol):
    """A data set. Its constructor's keyword arguments are the options of the study file's `data` section."""

    def videos(self) -> list[Video]:
        """The videos in a fixed order. Raises DataError if there are none."""
        ...

    def files(self) -> list[Path]:
        """Every file that the frames come from, so that the cache notices a change; empty if they are computed."""
        ...

    def read(self, video: int, index: int) -> Frame:
        """Decode one frame. Raises DataError that names the file."""
        ...
