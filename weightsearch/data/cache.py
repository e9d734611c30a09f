"""Frames decoded and resized once, then memory-mapped by every process of the machine.

`<folder>/<name>-<key>/<fingerprint>/*.npy`: the key identifies the data section and the code that reads it, the
fingerprint the files that were read. A cache is built under a lock, in a temporary folder that is renamed when it is
complete.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from weightsearch.config.schema import Configuration
from weightsearch.data import images, reading
from weightsearch.data.images import resize_colour, resize_flow, resize_intrinsics, resize_mask
from weightsearch.data.listing import check_files
from weightsearch.data.reading import Progress, Reading, place_of, read_all, resized_depth, usable
from weightsearch.data.source import Frame, Source, Video, knows_flow, knows_moving
from weightsearch.errors import DataError
from weightsearch.files import expanded
from weightsearch.plugins import build_plug_in, plain_options, resolve
from weightsearch.user_code import at, own_code

FORMAT: Final = 8
METHODS: Final = ("videos", "files", "read")  # methods of every data set
MEANS: Final = ("known", "depth", "picture")  # content numbers at the cache's size
PLACED: Final = ("depth map", "picture map", "camera", "pose", "flow map", "moving map")  # at the frame's own size
DETAIL: Final = "picture detail"  # at the frame's own size
OWN: Final = (*PLACED, DETAIL)  # content numbers at the frame's own size
CONTENT: Final = (*MEANS, *OWN)

Item = TypeVar("Item")


@dataclass(frozen=True)
class CachedFrames:
    """All frames of a data set at one size, memory-mapped from a folder.

    image: uint8, [N, H, W, 3]. depth: float32 metres, [N, H, W], 0 where unknown.
    intrinsics: float64 pixels, [N, 3, 3]. pose: float64 camera to world, metres, [N, 4, 4]. names: Frame.name.
    content: float64, [N, len(CONTENT)], numbers that identify each frame's content on every machine: the share of
    pixels with known depth, the mean depth (metres, 0 where unknown), the mean of the image (0-255), position-weighted
    means of the files' own arrays (see `placed_mean`), which change if a map is mirrored or rotated, and the root mean
    square difference of neighbouring pixels, which noise and strong compression change.
    sizes: int64, [N, 2], height and width of each frame's own files.
    flow: float32 pixels (x, y) to each neighbour, [N, S, H, W, 2], NaN where unknown. moving: mask of the pixels of
    moving objects, [N, H, W] bool. Both are None if the data set does not have them.
    """

    folder: Path
    videos: tuple[Video, ...]
    names: tuple[str, ...]
    content: NDArray[np.float64]
    sizes: NDArray[np.int64]
    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    intrinsics: NDArray[np.float64]
    pose: NDArray[np.float64]
    flow: NDArray[np.float32] | None = None
    moving: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Plan:
    """The arrays that the cache stores for every frame. size: height, width in pixels. offsets: of the neighbours to
    which flow is stored. arrays: name -> shape for one frame, and type."""

    size: tuple[int, int]
    offsets: tuple[int, ...] = ()
    arrays: dict[str, tuple[tuple[int, ...], type[np.generic]]] = field(default_factory=dict)


def plan_of(source: Source, size: tuple[int, int], neighbours: tuple[int, ...]) -> Plan:
    arrays: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        "image": ((*size, 3), np.uint8),
        "depth": (size, np.float32),
        "intrinsics": ((3, 3), np.float64),
        "pose": ((4, 4), np.float64),
    }
    offsets = neighbours if knows_flow(source) else ()
    if offsets:
        arrays["flow"] = ((len(offsets), *size, 2), np.float32)
    if neighbours and knows_moving(source):
        arrays["moving"] = (size, np.bool_)
    return Plan(size, offsets, arrays)


def cache_folder() -> Path:
    """The folder of all caches: WEIGHTSEARCH_CACHE, or `weightsearch` in the user's cache folder."""
    if chosen := os.environ.get("WEIGHTSEARCH_CACHE"):
        return Path(expanded(chosen))
    return Path(expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")) / "weightsearch"


def open_frames(
    configuration: Configuration, *, folder: Path | None = None, progress: Progress | None = None
) -> CachedFrames:
    """The frames of a configuration's data section; they are decoded if there is no cache or if a file has changed.

    folder: the folder of all caches. progress: called with the number of finished frames and of all frames while a
    cache is built. Raises DataError that names the frames that cannot be read.
    """
    data = configuration.data
    source = build_source(configuration)
    videos = videos_of(configuration, source)
    plan = plan_of(source, data.size, data.neighbours)
    parent = (folder or cache_folder()) / f"{data.name.rpartition(':')[2]}-{_key(configuration, plan)}"
    ready = parent / _fingerprint(files_of(configuration, source))
    try:
        frames = _load(ready, videos, plan)
        if frames is None:
            check_files(source)
            parent.mkdir(parents=True, exist_ok=True)
            with FileLock(parent / "lock"):
                frames = _load(ready, videos, plan)
                if frames is None:
                    _build(configuration, source, videos, plan, ready, progress)
                    frames = _load(ready, videos, plan)
    except OSError as error:
        raise DataError(
            f"cannot write the frame cache in {parent}: {error.strerror or error}; set WEIGHTSEARCH_CACHE to a folder "
            "that can be written and has room"
        ) from error
    if frames is None:
        raise DataError(f"the frame cache {ready} was removed while it was opened")
    return frames


def build_source(configuration: Configuration) -> Source:
    """The data set of a configuration. Raises DataError."""
    data = configuration.data
    source: Source = build_plug_in("data", data.name, data.options, configuration.context, "data", DataError)
    with own_code(f"data.name: {data.name!r}", source, DataError):  # it may have a __getattr__
        missing = [name for name in METHODS if not callable(getattr(source, name, None))]
    if missing:
        raise DataError(
            f"data.name: {data.name!r} is no data set of weightsearch: it has no {' and no '.join(missing)}; a class "
            f"with videos(), files() and read(video, index) is one, see weightsearch/data/source.py{at(source)}"
        )
    return source


def videos_of(configuration: Configuration, source: Source) -> tuple[Video, ...]:
    """The videos of a configuration's data set. Raises DataError."""
    return tuple(_listed(configuration, source, "videos", Video, "Video of weightsearch/data/source.py"))


def files_of(configuration: Configuration, source: Source) -> list[Path]:
    """The files of a configuration's data set. Raises DataError."""
    return _listed(configuration, source, "files", Path, "pathlib.Path")


def _listed(configuration: Configuration, source: Source, method: str, kind: type[Item], expected: str) -> list[Item]:
    """The items that a data set's method returns. kind: their type. expected: the type in words. Raises DataError for
    items of another type."""
    where = f"data.name: {configuration.data.name!r}: {method}()"
    with own_code(where, source, DataError):
        items = list(getattr(source, method)())
    for item in items:
        if not isinstance(item, kind):
            raise DataError(f"{where} gives {type(item).__name__}, expected {expected}{at(source)}")
    return items


def _key(configuration: Configuration, plan: Plan) -> str:
    data = configuration.data
    target = resolve("data", data.name)
    code = _code(target)
    options = plain_options(target, data.options, configuration.context)
    content = [FORMAT, data.name, options, data.size, sorted(plan.arrays), plan.offsets, code]
    return _digest(json.dumps(content, sort_keys=True))


def _code(target: Any) -> list[str]:
    """The source code of a data set's module, of the modules of its package that it imports from, and of the modules
    that process every frame."""
    module = inspect.getmodule(target)
    used = {code_module.__name__: code_module for code_module in (module, images, reading) if code_module is not None}
    for value in vars(module).values() if module is not None else ():
        other = value if inspect.ismodule(value) else inspect.getmodule(value)
        if other is not None and module is not None and module.__package__ and other.__package__ == module.__package__:
            used[other.__name__] = other
    sources: list[str] = []
    for name in sorted(used):
        with suppress(OSError, TypeError):
            sources.append(inspect.getsource(used[name]))
    return sources


def _fingerprint(files: list[Path]) -> str:
    stats: list[tuple[str, int, int]] = []
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            stats.append((str(path), -1, -1))  # reading it reports the error
        else:
            stats.append((str(path), stat.st_size, stat.st_mtime_ns))
    return _digest(json.dumps(stats))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _load(ready: Path, videos: tuple[Video, ...], plan: Plan) -> CachedFrames | None:
    """The cache in a folder; None if it does not exist or is incomplete."""
    try:
        arrays: dict[str, Any] = {name: np.load(ready / f"{name}.npy", mmap_mode="r") for name in plan.arrays}
        names = tuple(json.loads((ready / "names.json").read_text()))
        content, sizes = np.load(ready / "content.npy"), np.load(ready / "sizes.npy")
    except (FileNotFoundError, ValueError, EOFError):
        return None
    count = sum(video.length for video in videos)
    shapes = {name: (count, *shape) for name, (shape, _) in plan.arrays.items()}
    array_shapes = {name: array.shape for name, array in arrays.items()}
    if array_shapes != shapes or len(names) != count or content.shape != (count, len(CONTENT)):
        return None
    if sizes.shape != (count, 2):
        return None
    return CachedFrames(ready, videos, names, content, sizes, **arrays)


def _build(
    configuration: Configuration,
    source: Source,
    videos: tuple[Video, ...],
    plan: Plan,
    ready: Path,
    progress: Progress | None,
) -> None:
    count = sum(video.length for video in videos)
    if count == 0:
        raise DataError("data: the data set has no frames")
    work = Path(tempfile.mkdtemp(prefix="building-", dir=ready.parent))
    try:
        arrays = {
            name: np.lib.format.open_memmap(work / f"{name}.npy", mode="w+", dtype=kind, shape=(count, *shape))
            for name, (shape, kind) in plan.arrays.items()
        }
        for name in arrays:
            reserve(work / f"{name}.npy")
        placed = np.zeros((count, len(OWN)))
        readings = _fill(source, videos, plan, arrays, placed, progress)
        (work / "names.json").write_text(json.dumps([reading.name for reading in readings]))
        np.save(work / "sizes.npy", np.array([reading.size for reading in readings], dtype=np.int64))
        for array in arrays.values():
            array.flush()
        np.save(work / "content.npy", np.hstack([_means(arrays), placed]))
        check_unchanged(files_of(configuration, source), ready)
        shutil.rmtree(ready, ignore_errors=True)  # a damaged one
        work.rename(ready)
        for old in ready.parent.iterdir():
            if old.is_dir() and old != ready:
                shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_unchanged(files: list[Path], ready: Path) -> None:
    """Raise DataError if files have changed since the cache in this folder was started: it would mix old and new files
    under one fingerprint."""
    if _fingerprint(files) != ready.name:
        raise DataError(
            "data: files of the data set changed while they were read: wait until nothing writes them, "
            "then give the same command again"
        )


def placed_mean(values: NDArray[Any]) -> float:
    """The mean of |value + 1|, 0 for NaN, with weights from 1 to 4 that grow from row to row and along each row: it
    changes if a map is mirrored, rotated or negated."""
    rows = values.reshape(len(values), -1)
    down, along = np.linspace(1, 2, rows.shape[0]), np.linspace(1, 2, rows.shape[1])
    if rows.dtype.kind in "fi":
        rows = np.abs(np.nan_to_num(rows.astype(np.float64), posinf=0.0, neginf=0.0) + 1) - 1
    else:  # faster for an image or a mask, which has no NaN and nothing below 0
        rows, along = rows.astype(np.float32), along.astype(np.float32)
    return float(down @ (rows @ along) / (down.sum() * along.sum())) + 1


def detail(picture: NDArray[np.uint8]) -> float:
    """The root mean square difference of horizontally neighbouring pixels. picture: [H, W, 3]."""
    across = np.diff(picture.astype(np.int16), axis=1).astype(np.float32)
    return float(np.sqrt(np.mean(across**2))) if across.size else 0.0


def _means(arrays: dict[str, Any]) -> NDArray[np.float64]:
    shares = [np.count_nonzero(depth) / depth.size for depth in arrays["depth"]]
    depth, picture = ([array.mean(dtype=np.float64) for array in arrays[name]] for name in ("depth", "image"))
    return np.stack([shares, depth, picture], axis=1)


def reserve(path: Path) -> None:
    """Allocate the file's disk space now: writing to a mapped file on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _fill(
    source: Source,
    videos: tuple[Video, ...],
    plan: Plan,
    arrays: dict[str, Any],
    placed: NDArray[np.float64],
    progress: Progress | None,
) -> Sequence[Reading[None]]:
    """Read all frames into the arrays, and their content numbers at their own size into `placed`, [N, len(OWN)]."""
    size = plan.size
    column = {name: number for number, name in enumerate(OWN)}

    def store(position: int, frame: Frame) -> None:
        arrays["image"][position] = resize_colour(frame.image, size)
        arrays["depth"][position] = resized_depth(frame, size)
        arrays["intrinsics"][position] = resize_intrinsics(frame.intrinsics, frame.depth.shape, size)
        arrays["pose"][position] = frame.pose
        own_arrays: dict[str, NDArray[Any]] = {
            "depth map": frame.depth,
            "picture map": frame.image,
            "camera": frame.intrinsics,
            "pose": frame.pose,
        }
        for name, values in own_arrays.items():
            placed[position, column[name]] = placed_mean(values)
        placed[position, column[DETAIL]] = detail(frame.image)
        video, index = place_of(videos, position)
        if "flow" in arrays and knows_flow(source):
            for row, offset in enumerate(plan.offsets):
                there = 0 <= index + offset < videos[video].length
                flow = checked_motion(frame, "flow", source.flow(video, index, offset), 2) if there else None
                arrays["flow"][position, row] = np.nan if flow is None else resize_flow(flow, size)
                placed[position, column["flow map"]] += 0.0 if flow is None else (row + 1) * placed_mean(flow)
        if "moving" in arrays and knows_moving(source):
            moving = checked_motion(frame, "mask of what moves", source.moving(video, index))
            arrays["moving"][position] = resize_mask(moving, size)
            placed[position, column["moving map"]] = placed_mean(moving)

    return usable(read_all(source, videos, store, progress), videos)


def checked_motion(frame: Frame, what: str, values: NDArray[Any], *channels: int) -> NDArray[Any]:
    """Return a frame's motion as the data set gives it. Raises DataError if its size is not the frame's."""
    expected = (*frame.depth.shape, *channels)
    if values.shape != expected:
        raise DataError(f"{frame.name}: its {what} has the shape {list(values.shape)}, expected {list(expected)}")
    return values
