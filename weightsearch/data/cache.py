"""Frames decoded and resized once, then memory-mapped by every process of the machine.

`<folder>/<name>-<key>/<fingerprint>/*.npy`: the key stands for the data section (and the code that reads it), the
fingerprint for the files it read. A cache is built under a lock, in a folder of its own, and renamed when it is whole.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from weightsearch.data.images import resize_colour, resize_depth, resize_intrinsics
from weightsearch.data.source import Frame, Source, Video
from weightsearch.errors import DataError, OptionError
from weightsearch.plugins import build, plain_options, resolve
from weightsearch.spec.sections import Configuration

FORMAT: Final = 1
ARRAYS: Final = ("image", "depth", "intrinsics", "pose")
NAMED: Final = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CachedFrames:
    """All frames of a data set at one size, memory-mapped.

    image: uint8, [N, H, W, 3]. depth: float32 metres, [N, H, W], 0 where unknown.
    intrinsics: float64 pixels, [N, 3, 3]. pose: float64 camera to world, metres, [N, 4, 4].
    """

    videos: tuple[Video, ...]
    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    intrinsics: NDArray[np.float64]
    pose: NDArray[np.float64]


def cache_folder() -> Path:
    """Where caches lie: WEIGHTSEARCH_CACHE, or `weightsearch` in the user's cache folder."""
    if chosen := os.environ.get("WEIGHTSEARCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weightsearch"


def open_frames(
    configuration: Configuration, *, folder: Path | None = None, progress: Progress | None = None
) -> CachedFrames:
    """The frames of a configuration's data section, decoded now if that was never done or if a file has changed.

    progress: called with the frames done and their number while a cache is built. Raises DataError that names every
    frame that cannot be read.
    """
    data = configuration.data
    try:
        source: Source = build("data", data.name, data.options, configuration.context)
    except OptionError as error:
        raise DataError(f"data.{error.option}: {error.message}") from None
    videos = tuple(source.videos())
    place = (folder or cache_folder()) / f"{data.name.rpartition(':')[2]}-{_key(configuration)}"
    ready = place / _fingerprint(source)
    try:
        place.mkdir(parents=True, exist_ok=True)
        frames = _load(ready, videos, data.size)
        if frames is None:
            with FileLock(place / "lock"):
                frames = _load(ready, videos, data.size)
                if frames is None:
                    _build(source, videos, data.size, ready, progress)
                    frames = _load(ready, videos, data.size)
    except OSError as error:
        raise DataError(
            f"cannot write the frame cache in {place}: {error.strerror or error}; set WEIGHTSEARCH_CACHE to a folder "
            "that can be written and has room"
        ) from error
    if frames is None:
        raise DataError(f"the frame cache {ready} was removed while it was opened")
    return frames


def _key(configuration: Configuration) -> str:
    data = configuration.data
    target = resolve("data", data.name)
    module = inspect.getmodule(target)
    try:
        code = inspect.getsource(module) if module else ""
    except OSError:
        code = ""
    content = [FORMAT, data.name, plain_options(target, data.options, configuration.context), data.size, code]
    return _digest(json.dumps(content, sort_keys=True))


def _fingerprint(source: Source) -> str:
    stats: list[tuple[str, int, int]] = []
    for path in source.files():
        try:
            stat = path.stat()
        except OSError:
            stats.append((str(path), -1, -1))  # reading it says what is wrong
        else:
            stats.append((str(path), stat.st_size, stat.st_mtime_ns))
    return _digest(json.dumps(stats))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _load(ready: Path, videos: tuple[Video, ...], size: tuple[int, int]) -> CachedFrames | None:
    """The cache in a folder, or None if it is not there or not whole."""
    try:
        arrays: dict[str, Any] = {name: np.load(ready / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    except (FileNotFoundError, ValueError, EOFError):
        return None
    count = sum(video.length for video in videos)
    if arrays["depth"].shape != (count, *size):
        return None
    return CachedFrames(videos, **arrays)


def _build(
    source: Source, videos: tuple[Video, ...], size: tuple[int, int], ready: Path, progress: Progress | None
) -> None:
    count = sum(video.length for video in videos)
    if count == 0:
        raise DataError("data: the data set has no frames")
    shapes = {"image": (*size, 3), "depth": size, "intrinsics": (3, 3), "pose": (4, 4)}
    types = {"image": np.uint8, "depth": np.float32, "intrinsics": np.float64, "pose": np.float64}
    work = Path(tempfile.mkdtemp(prefix="building-", dir=ready.parent))
    try:
        arrays = {
            name: np.lib.format.open_memmap(
                work / f"{name}.npy", mode="w+", dtype=types[name], shape=(count, *shapes[name])
            )
            for name in ARRAYS
        }
        for name in ARRAYS:
            _reserve(work / f"{name}.npy")
        _fill(source, videos, size, arrays, progress)
        for array in arrays.values():
            array.flush()
        shutil.rmtree(ready, ignore_errors=True)  # a damaged one
        work.rename(ready)
        for old in ready.parent.iterdir():
            if old.is_dir() and old != ready:
                shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _reserve(path: Path) -> None:
    """Take the file's room on the disk now: writing to a mapped file on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _fill(
    source: Source,
    videos: tuple[Video, ...],
    size: tuple[int, int],
    arrays: dict[str, Any],
    progress: Progress | None,
) -> None:
    places = [(number, index) for number, video in enumerate(videos) for index in range(video.length)]

    def one(position: int) -> tuple[str, tuple[int, int]] | DataError:
        try:
            frame = source.read(*places[position])
            native = _check(frame)
            arrays["image"][position] = resize_colour(frame.image, size)
            arrays["depth"][position] = resize_depth(frame.depth, size)
            arrays["intrinsics"][position] = resize_intrinsics(frame.intrinsics, native, size)
            arrays["pose"][position] = frame.pose
        except DataError as error:
            return error
        except Exception as error:  # a user's data set may raise anything
            video, index = places[position]
            return DataError(f"{videos[video].name}, frame {index}: {type(error).__name__}: {error}")
        return frame.name, native

    bad: list[str] = []
    natives: list[tuple[int, str, tuple[int, int]]] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for position, result in enumerate(pool.map(one, range(len(places)))):
            if isinstance(result, DataError):
                bad.append(str(result))
            else:
                natives.append((places[position][0], *result))
            if progress is not None:
                progress(position + 1, len(places))
    bad += _odd_sizes(natives)
    if bad:
        more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise DataError(f"data: {len(bad)} of {len(places)} frames cannot be used: {'; '.join(bad[:NAMED])}{more}")


def _check(frame: Frame) -> tuple[int, int]:
    height, width = frame.image.shape[:2]
    if frame.image.shape != (height, width, 3) or frame.image.dtype != np.uint8:
        raise DataError(f"{frame.name}: expected uint8 colour [H, W, 3], found {frame.image.dtype} {frame.image.shape}")
    if frame.depth.shape != (height, width):
        raise DataError(f"{frame.name}: colour has {width}x{height} pixels, depth {frame.depth.shape[::-1]}")
    if not np.isfinite(frame.depth).all() or (frame.depth < 0).any():
        raise DataError(f"{frame.name}: depth is negative or not finite; unknown depth is 0")
    return height, width


def _odd_sizes(natives: list[tuple[int, str, tuple[int, int]]]) -> list[str]:
    """Frames whose size is not that of most frames of their video."""
    usual = {
        video: Counter(size for number, _, size in natives if number == video).most_common(1)[0][0]
        for video in {number for number, _, _ in natives}
    }
    return [
        f"{name}: {size[1]}x{size[0]} pixels, its video has {usual[video][1]}x{usual[video][0]}"
        for video, name, size in natives
        if size != usual[video]
    ]
