"""A configuration's data: cached frames, divided into splits, as batches on a device."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightsearch.config.schema import Configuration
from weightsearch.data.batch import Batch, Neighbours, TrueMotion
from weightsearch.data.cache import CONTENT, DETAIL, MEANS, PLACED, CachedFrames, build_source, open_frames, videos_of
from weightsearch.data.listing import check_files, frame_warnings, names_of_all
from weightsearch.data.reading import Progress, place_of
from weightsearch.data.source import Size, SplitName
from weightsearch.data.split import beside, cut, with_neighbours
from weightsearch.data.truth import Truth, What, open_truth
from weightsearch.errors import ChangedDataError, DataError
from weightsearch.records import EvaluationSize

Parts = Mapping[str, Tensor]

FEATURE: Final = "feature "
GOLDEN: Final = (5**0.5 - 1) / 2
NAMED: Final = 4  # content numbers that an error about changed data lists

# Relative tolerances of content numbers: image decoders round differently, processors rarely do.
SAME: Final = 1e-5
SAME_PICTURE: Final = 1e-3
SAME_DETAIL: Final = 1e-2


@dataclass(frozen=True)
class Dataset:
    """An opened data set. configuration: its configuration. frames: all frames, memory-mapped on this host. splits:
    indices of each split's frames, in video order. min_depth, max_depth: metres; depth outside is not valid. features:
    of a frozen encoder, for every frame, finest first, each [N, C, h, w]; empty if they are not cached. offsets: of the
    neighbours in a batch. made_up: the frames are noise."""

    configuration: Configuration
    frames: CachedFrames
    splits: dict[SplitName, NDArray[np.int64]]
    min_depth: float
    max_depth: float
    features: tuple[NDArray[np.float32], ...] = ()
    offsets: tuple[int, ...] = ()
    made_up: bool = False

    def gather(self, indices: NDArray[np.int64], *, pin: bool = False) -> Parts:
        """Copy these frames and their neighbours in their stored form, for `to_batch`. pin: into pinned memory."""
        frames = self.frames
        parts: dict[str, NDArray[Any]] = {
            "image": frames.image[indices],
            "depth": frames.depth[indices],
            "intrinsics": frames.intrinsics[indices].astype(np.float32),
            "pose": frames.pose[indices].astype(np.float32),
        }
        for level, feature in enumerate(self.features):
            parts[f"{FEATURE}{level}"] = feature[indices]
        if self.offsets:
            others = beside(frames.videos, indices, self.offsets)
            parts["beside"] = frames.image[others]
            parts["relative"] = relative_poses(frames.pose[indices], frames.pose[others])
            if frames.flow is not None:
                parts["flow"] = frames.flow[indices]
            if frames.moving is not None:
                parts["moving"] = frames.moving[indices]
        tensors = {name: torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}
        return {name: part.pin_memory() for name, part in tensors.items()} if pin else tensors

    def to_batch(self, parts: Parts, device: torch.device) -> Batch:
        """Move gathered frames to a device and convert them to a batch's units there, without waiting for the device.
        Images have the memory layout of `train.channels_last`."""
        here = {name: part.to(device, non_blocking=True) for name, part in parts.items()}
        metres = here["depth"].unsqueeze(1)
        return Batch(
            image=self._colour(here["image"].permute(0, 3, 1, 2)),
            depth=metres,
            valid=(metres > self.min_depth) & (metres < self.max_depth),
            intrinsics=here["intrinsics"],
            pose=here["pose"],
            features=tuple(part for name, part in here.items() if name.startswith(FEATURE)),
            neighbours=self._neighbours(here),
            motion=TrueMotion(
                here["flow"].permute(0, 1, 4, 2, 3) if "flow" in here else None,
                here["moving"].unsqueeze(1) if "moving" in here else None,
            ),
        )

    def _neighbours(self, here: Parts) -> Neighbours | None:
        if "beside" not in here:
            return None
        return Neighbours(self.offsets, self._colour(here["beside"].permute(0, 1, 4, 2, 3)), here["relative"])

    def _colour(self, stored: Tensor) -> Tensor:
        """RGB in [0, 1]. stored: uint8, [..., 3, H, W], channels last in memory."""
        colour = stored.float().div_(255)
        return colour if self.configuration.train.channels_last else colour.contiguous()

    def places(self, indices: NDArray[np.int64]) -> list[tuple[int, int]]:
        """The video of each of these frames, and the frame's index in it."""
        return [place_of(self.frames.videos, int(index)) for index in indices]

    def sizes(self, split: SplitName) -> set[Size]:
        """The heights and widths of a split's own files."""
        return {(int(height), int(width)) for height, width in np.unique(self.frames.sizes[self.splits[split]], axis=0)}

    @property
    def content(self) -> dict[str, float]:
        """Numbers that identify each split's content: its number of frames and the means of their content numbers (see
        CachedFrames). Position-weighted means also weight the frames, so that they change if two frames are
        exchanged."""
        held: dict[str, float] = {}
        for split, indices in self.splits.items():
            held[f"{split} frames"] = len(indices)
            if len(indices):
                numbers = self.frames.content[indices]
                weights = 1 + np.modf(np.arange(len(indices)) * GOLDEN)[0]
                means = np.where(
                    np.isin(CONTENT, PLACED), np.average(numbers, axis=0, weights=weights), numbers.mean(axis=0)
                )
                held |= {f"{split} {name}": float(mean) for name, mean in zip(CONTENT, means, strict=True)}
        return held

    def truth(
        self,
        split: SplitName,
        size: EvaluationSize,
        progress: Progress | None = None,
        *,
        every: int = 1,
        what: What = "depth",
    ) -> Truth:
        """The true depth or flow of a split's frames at an evaluation size, or each at its `native` size; computed at
        the first call. every: take one frame in so many. Raises DataError."""
        return open_truth(self.configuration, self.frames, self.splits[split][::every], size, progress, what)


def changed_content(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """The content numbers of a data set that have changed, a text each."""
    return [
        f"{_number(name)} {before[name]:.6g} -> {value:.6g}"
        for name, value in now.items()
        if name in before and not math.isclose(before[name], value, rel_tol=_tolerance(name))
    ]


def _number(name: str) -> str:
    """A content number in words. name: split and name of the number, such as `test depth`."""
    split, _, what = name.partition(" ")
    if what == DETAIL:
        return f"mean difference of neighbouring pixels of the {split} images"
    if what in PLACED:
        return f"position-weighted mean of the {split} {what.removesuffix(' map')}"
    words = {"known": f"known share of the {split} depth", "depth": f"mean {split} depth"}
    return words.get(what, f"mean {split} image" if what == "picture" else name)


def _tolerance(name: str) -> float:
    if name.endswith(DETAIL):
        return SAME_DETAIL
    return 0.0 if name.endswith("frames") else SAME_PICTURE if "picture" in name else SAME


def of_any_size(content: Mapping[str, float]) -> dict[str, float]:
    """The content numbers that do not depend on `data.size`."""
    return {name: value for name, value in content.items() if name.partition(" ")[2] not in MEANS}


def check_content(before: Mapping[str, float], now: Mapping[str, float], what: str) -> None:
    """Raise ChangedDataError if a data set's content has changed. what: the study or training that started with it."""
    changed = changed_content(before, now)
    if changed:
        more = f" and {len(changed) - NAMED} more numbers" if len(changed) > NAMED else ""
        raise ChangedDataError(
            f"on the host {platform.node()} the data set is not the one that {what} began with: "
            f"{', '.join(changed[:NAMED])}{more}. Trials on it could not be compared with the others; restore the "
            "data"
        )


def open_dataset(
    configuration: Configuration, *, folder: Path | None = None, progress: Progress | None = None
) -> Dataset:
    """Open the frame cache of a configuration, build it if necessary, and divide it into splits. Raises DataError."""
    frames = open_frames(configuration, folder=folder, progress=progress)
    data = configuration.data
    chosen = with_neighbours(cut(frames.videos, data.split), frames.videos, data.neighbours, frames.names)
    splits = {name: np.array(indices, dtype=np.int64) for name, indices in chosen.items()}
    if data.neighbours:
        _check_cameras(frames)
    return Dataset(configuration, frames, splits, data.min_depth, data.max_depth, offsets=data.neighbours)


@dataclass(frozen=True)
class Outline:
    """A data set by its lists and folders, without reading a frame. counts: the number of frames in each split.
    warnings: lines about frames that occur twice or in two splits."""

    counts: dict[str, int]
    warnings: tuple[str, ...]


def outline(configuration: Configuration) -> Outline:
    """Read only the lists and folders of a data set. Raises DataError for missing files, and for splits or neighbours
    that leave no frame to train or validate on."""
    data = configuration.data
    try:
        source = build_source(configuration)
        videos = videos_of(configuration, source)
        check_files(source)
        chosen = with_neighbours(cut(videos, data.split), videos, data.neighbours)
    except DataError as error:
        raise DataError(str(error) if str(error).startswith("data") else f"data: {error}") from None
    counts = {str(name): len(indices) for name, indices in chosen.items()}
    check_counts(counts)
    names = None if ":" in data.name else names_of_all(source, videos)
    return Outline(counts, () if names is None else tuple(frame_warnings(configuration, videos, names, chosen)))


def check_counts(counts: Mapping[str, int]) -> None:
    """Raise DataError for a data set without frames to train or validate on."""
    for name in ("train", "validation"):
        if not counts.get(name):
            frames = sum(counts.values())
            raise DataError(
                f"data.split: no frame is left for the split {name!r}, which training needs; the data set has {frames} "
                f"in its splits ({', '.join(f'{count} {split}' for split, count in counts.items())})"
            )


def relative_poses(frame: NDArray[np.float64], beside: NDArray[np.float64]) -> NDArray[np.float32]:
    """Poses from each frame's camera coordinates to its neighbours', metres, [B, S, 4, 4]. frame, beside: camera to
    world, [B, 4, 4] and [B, S, 4, 4], NaN where unknown; in float64, since float32 loses millimetres far from the
    world's origin."""
    turn = np.swapaxes(beside[..., :3, :3], -1, -2)
    relative = np.tile(np.eye(4), (*beside.shape[:2], 1, 1))
    relative[..., :3, :3] = turn @ frame[:, None, :3, :3]
    relative[..., :3, 3:] = turn @ (frame[:, None, :3, 3:] - beside[..., :3, 3:])
    relative[~np.isfinite(relative).all(axis=(-1, -2))] = np.nan
    return relative.astype(np.float32)


def _check_cameras(frames: CachedFrames) -> None:
    """Raise DataError if the camera changes within a video: a frame and its neighbours must share intrinsics."""
    start = 0
    for video in frames.videos:
        cameras = frames.intrinsics[start : start + video.length]
        if not np.allclose(cameras, cameras[:1], rtol=1e-3, equal_nan=True):
            raise DataError(f"data.neighbours: the intrinsics change within {video.name}")
        start += video.length
