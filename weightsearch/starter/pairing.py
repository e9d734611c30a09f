"""Pair images with depth maps by the names of their files."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weightsearch.data.hidden import visible
from weightsearch.data.images import PICTURES
from weightsearch.errors import DataError

DEPTHS: Final = (".png", ".npy")
OTHER_DEPTHS: Final = (".exr", ".tif", ".tiff", ".pfm", ".h5", ".mat", ".npz", ".dpt")
# Words of a file name for the kind of file; the rest of the name is the same for an image and its depth map.
KIND: Final = re.compile(
    r"(?<![a-z])(?:rgb|colou?rs?|images?|img|photos?|pictures?|left|sync|depths?|depth_?maps?|dep|disp|raw|gt|ground_?truth|"
    r"groundtruth|proj|velodyne|z)(?![a-z])",
    re.IGNORECASE,
)
NUMBER: Final = re.compile(r"\d+")
TIME: Final = re.compile(r"\d{6,}\.\d+")  # a time in seconds, as TUM RGB-D names its files
APART: Final = 0.02  # seconds between an image and its depth map, at most
ENOUGH: Final = 0.5  # share of the images that must have a depth map

Key = tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """pairs: image and depth map of each frame, in the order of the images. images, depths: files without a
    partner."""

    pairs: list[tuple[Path, Path]]
    images: list[Path]
    depths: list[Path]


def pair_folders(rgb: Path, depth: Path) -> Pairs:
    """The pairs of images in a folder and depth maps in a folder, which may be the same. Raises DataError."""
    for option, folder in (("--rgb", rgb), ("--depth", depth)):
        if not folder.is_dir():
            raise DataError(f"{option}: {folder}: no such folder")
    same_folder = rgb.resolve() == depth.resolve()
    images = _files(rgb, PICTURES)
    depths = _files(depth, DEPTHS)
    if same_folder:  # frame-000.color.png beside frame-000.depth.png
        depths = [path for path in depths if path.suffix.lower() == ".npy" or "depth" in path.name.lower()]
        images = [path for path in images if path not in set(depths)]
    if not images:
        raise DataError(f"{rgb}: no image (.png, .jpg) in it")
    if not depths:
        others = sorted({path.suffix for path in _files(depth, OTHER_DEPTHS)})
        more = f"; it has {', '.join(others)} files: convert them" if others else ""
        raise DataError(f"{depth}: no depth map in it; depth maps are 16-bit .png or .npy files [H, W]{more}")
    matched = pair([path.relative_to(rgb) for path in images], [path.relative_to(depth) for path in depths])
    return Pairs(
        [(rgb / image, depth / map_) for image, map_ in matched.pairs],
        [rgb / path for path in matched.images],
        [depth / path for path in matched.depths],
    )


def pair(images: Sequence[Path], depths: Sequence[Path]) -> Pairs:
    """Pair files by their paths in the folders of images and of depth maps: by equal names, by names without the words
    for the kind of file, by their numbers, or by times. The way that gives most pairs is used. Raises DataError if
    fewer than half of the images find a depth map."""
    ways = [_by_key(images, depths, key) for key in (_name, _without_kind, _numbers, _last_number)]
    ways.append(_by_time(images, depths))
    best = max(ways, key=lambda way: len(way.pairs))  # the first of equally good ways
    if len(best.pairs) < ENOUGH * min(len(images), len(depths)) or not best.pairs:
        raise DataError(
            f"images and depth maps cannot be paired by their names, such as {images[0]} and {depths[0]}: give a depth "
            "map the name of its image, or write a list with a line 'image depth' for each frame (--list FILE)"
        )
    return best


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    paths = visible((path for path in folder.rglob("*") if path.suffix.lower() in suffixes), folder)
    return sorted((path for path in paths if path.is_file()), key=_natural)


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """The sort key of a path, by the numbers in it: 2 before 10."""
    words = re.split(r"(\d+)", str(path))
    return [(word.isdigit(), int(word) if word.isdigit() else 0, word) for word in words]


def _by_key(images: Sequence[Path], depths: Sequence[Path], key: Callable[[Path], Key | None]) -> Pairs:
    """Pair files with the same key; keys that two files of one kind share are ignored."""
    keyed = [_unique(paths, key) for paths in (images, depths)]
    pairs = [(image, keyed[1][name]) for name, image in keyed[0].items() if name in keyed[1]]
    return _with_rest(pairs, images, depths)


def _unique(paths: Sequence[Path], key: Callable[[Path], Key | None]) -> dict[Key, Path]:
    groups: dict[Key, list[Path]] = {}
    for path in paths:
        if (name := key(path)) is not None:
            groups.setdefault(name, []).append(path)
    return {name: same[0] for name, same in groups.items() if len(same) == 1}


def _by_time(images: Sequence[Path], depths: Sequence[Path]) -> Pairs:
    """Pair each image with the depth map that is nearest in time; each depth map is used once."""
    times = sorted((float(match.group()), path) for path in depths if (match := TIME.search(path.stem)))
    free = set(range(len(times)))
    pairs: list[tuple[Path, Path]] = []
    for image in images:
        if not times or not (match := TIME.search(image.stem)):
            continue
        time = float(match.group())
        position = bisect_left(times, (time, Path()))
        near = [index for index in (position - 1, position) if index in free]
        best = min(near, key=lambda index: abs(times[index][0] - time), default=None)
        if best is not None and abs(times[best][0] - time) <= APART:
            free.discard(best)
            pairs.append((image, times[best][1]))
    return _with_rest(pairs, images, depths)


def _with_rest(pairs: list[tuple[Path, Path]], images: Sequence[Path], depths: Sequence[Path]) -> Pairs:
    paired = {image for image, _ in pairs}, {depth for _, depth in pairs}
    order = {image: position for position, image in enumerate(images)}
    return Pairs(
        sorted(pairs, key=lambda frame: order[frame[0]]),
        [path for path in images if path not in paired[0]],
        [path for path in depths if path not in paired[1]],
    )


def _name(path: Path) -> Key:
    return tuple(path.with_suffix("").parts)


def _without_kind(path: Path) -> Key:
    """The path without the words for the kind of file, and without the separators next to them."""
    parts = [re.sub(r"[\W_]+", "_", KIND.sub("", part.replace("_", " "))).strip("_") for part in _name(path)]
    return tuple(part.lower() for part in parts if part)


def _numbers(path: Path) -> Key | None:
    """All numbers of the path, without leading zeros; None without any."""
    numbers = NUMBER.findall(str(path.with_suffix("")))
    return tuple(str(int(number)) for number in numbers) or None


def _last_number(path: Path) -> Key | None:
    numbers = NUMBER.findall(path.stem)
    return (*path.parent.parts, str(int(numbers[-1]))) if numbers else None
