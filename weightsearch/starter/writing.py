"""Write the lists and the study file for a user's own data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from weightsearch.config import load_base, load_study
from weightsearch.config.extends import read_study, shipped
from weightsearch.data.cache import build_source
from weightsearch.data.dataset import outline
from weightsearch.data.lists import read_rows
from weightsearch.data.source import SplitName
from weightsearch.data.sources.file_list import read_list
from weightsearch.data.sources.nyu import LABELLED
from weightsearch.errors import DataError, WriteError, counted
from weightsearch.files import write_text
from weightsearch.starter.detection import POSSIBLE, depth_range, detect, other_medians
from weightsearch.starter.own_study import (
    OwnData,
    list_text,
    of_data_set,
    of_pairs,
    split_of,
    split_pairs,
    study_text,
)
from weightsearch.starter.pairing import pair_folders

READ: Final = 24  # frames that are read of a supported data set, at most
PRESETS: Final[Mapping[str, str | None]] = {"seven_scenes": None, "nyu": "nyu", "kitti_raw": "kitti_eigen"}
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "nyu": (0.1, 10.0),
    "kitti_raw": (1.0, 80.0),
}  # of published results
DATA_SETS: Final[Mapping[str, str]] = {"--seven-scenes": "seven_scenes", "--nyu": "nyu", "--kitti": "kitti_raw"}


@dataclass(frozen=True)
class Chosen:
    """The location of a user's data. option: --rgb, --list or one of DATA_SETS. path: its value. depth: the value of
    --depth. scale: units per metre of depth, if the user gives them. force: replace files that exist."""

    option: str
    path: Path
    depth: Path | None = None
    scale: float | None = None
    force: bool = False

    @property
    def name(self) -> str:
        """A name for the study."""
        path = self.path.absolute()
        words = path.stem if self.option == "--list" else path.name
        if self.option == "--rgb" and path.parent.name:
            words = path.parent.name
        return re.sub(r"[^A-Za-z0-9._-]+", "_", words).strip("._-") or "study"


def write_own_study(template: str, chosen: Chosen, target: Path) -> list[str]:
    """Write a study file, and lists of pairs beside it. Returns lines about the detected data. Raises
    WeightsearchError; then new files are removed, and replaced files are restored."""
    studies = shipped()
    if read_study(studies[template]).tree["data"].get("neighbours"):
        ready = [name for name in studies if name.startswith(f"{template}_")] or [template]
        raise DataError(
            f"{template} learns from neighbouring frames, which these options do not describe: begin with "
            f"{' or '.join(f'weightsearch init {name}' for name in ready)}, whose comment says what the data needs"
        )
    gpu = _has_gpu()
    if chosen.option in DATA_SETS:
        data, lines, frames = _data_set(chosen.option, chosen.path.absolute(), gpu=gpu)
        lists: dict[Path, str] = {}
    else:
        data, lines, frames, lists = _pairs(chosen, target, gpu=gpu)
    written = {**lists, target: study_text(template, target.stem, data, frames)}
    before = {path: path.read_bytes() for path in written if path.exists()}
    try:
        for path, text in written.items():
            write_text(path, text)
        config = load_study(target)
        contents = outline(config.base)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        for path, content in before.items():
            path.write_bytes(content)
        raise
    height, width = config.base.data.size
    splits = ", ".join(f"{count} {split}" for split, count in contents.counts.items())
    lines.append(f"frames: {splits}; the network's input is {height}x{width} pixels (height x width)")
    return [*lines, *(f"warning: {text}" for text in contents.warnings)]


def _pairs(chosen: Chosen, target: Path, *, gpu: bool) -> tuple[OwnData, list[str], int, dict[Path, str]]:
    lines: list[str] = []
    lists: dict[Path, str] = {}
    if chosen.option == "--rgb":
        rgb, depth = chosen.path.absolute(), (chosen.depth or chosen.path).absolute()
        paired = pair_folders(rgb, depth)
        pairs = paired.pairs
        beside = target.absolute().parent  # if possible, paths are relative to the list's own folder
        below = rgb.is_relative_to(beside) and depth.is_relative_to(beside)
        root = beside if below else Path(os.path.commonpath([rgb, depth]))
        lines.append(f"{counted(len(pairs), 'pair')}; the first: {pairs[0][0].name} with {pairs[0][1].name}")
        for what, other, rest in (("image", "depth", paired.images), ("depth map", "image", paired.depths)):
            if rest:
                lines.append(f"left out: {counted(len(rest), what)} without {other}, such as {rest[0]}")
        parts = split_pairs(pairs, rgb)
        names: dict[SplitName, Path] = {
            split: target.absolute().with_name(f"{target.stem}_{split}.txt" if len(parts) > 1 else f"{target.stem}.txt")
            for split in parts
        }
        for split, own in parts.items():
            lists[names[split]] = list_text(own, root)
        if not chosen.force and (taken := [path for path in lists if path.exists()]):
            raise WriteError(
                f"the list {taken[0]} exists; replace it with --force, or name another study with --out NAME.yaml: its "
                "lists are named after NAME"
            )
    else:
        path = chosen.path.absolute()
        root = _root_of(path)
        entries, without = read_list(path, root, root, "root")
        pairs = [(entry.colour, entry.depth) for entry in entries if entry.depth is not None]
        names = {"train": path}
        lines.append(counted(len(pairs), "pair") + (f"; left out: {without} without depth" if without else ""))
    split_of(len(pairs), chosen.path)
    depths = detect(pairs, chosen.scale)
    lines.append(
        f"depth: {depths.stored}, {depths.unit}; median {depths.median:.3g} m, 99.5 % below {depths.reach:.3g} m"
    )
    if depths.other is not None:
        lines.append(f"check the unit: {depths.other} is {depths.how_likely}")
    if not depths.given and (medians := other_medians(depths)):
        lines.append(f"if the median is wrong, run this again with --force --depth-scale UNITS: {', '.join(medians)}")
    if not POSSIBLE[0] <= depths.median <= POSSIBLE[1]:
        lines.append(f"warning: a median depth of {depths.median:.3g} m is unusual; is --depth-scale right?")
    return of_pairs(depths, root, names, len(pairs), gpu=gpu), lines, len(pairs), lists


def _root_of(path: Path) -> Path:
    """The folder that the paths in a list are relative to: the list's own, or the working folder."""
    rows = read_rows(path, "the list")
    if not rows:
        raise DataError(f"{path}: the list is empty")
    words = [word for word in rows[0].words if "." in word] or list(rows[0].words)
    for folder in (path.parent, Path.cwd(), Path("/")):
        if (folder / words[0]).is_file():
            return folder
    raise DataError(
        f"{rows[0].place}: no file {words[0]} in {path.parent} or in the working folder; paths in a list are relative "
        "to the list's folder"
    )


def _data_set(option: str, root: Path, *, gpu: bool) -> tuple[OwnData, list[str], int | None]:
    """The data section of a supported data set, lines about it, and its number of frames. option: one of DATA_SETS.
    Size and depth range are read from some frames."""
    name = DATA_SETS[option]
    if not root.is_dir():
        raise DataError(f"{option}: {root}: no such folder")
    options: dict[str, Any] = {"root": str(root)}
    if name == "nyu" and not (root / LABELLED).is_file():
        parts = {"train": "sync", "test": "official_splits/test"}
        options |= {split: folder for split, folder in parts.items() if (root / folder).is_dir()}
    base = load_base({
        "name": "look",
        "data": {"name": name, **options, "size": [32, 32], "min_depth": 1e-3, "max_depth": 1e3},
        "model": {"name": "encoder_decoder"},
        "loss": {"mae": {"weight": 1.0}},
        "train": {"epochs": 1, "lr": 1e-3},
    })  # fmt: skip
    try:
        source = build_source(base)
        videos = source.videos()
    except DataError as error:
        raise DataError(re.sub(r"^data\.root(?=:)", option, str(error))) from error
    positions = [(number, index) for number, video in enumerate(videos) for index in range(video.length)]
    chosen = positions[:: max(1, -(-len(positions) // READ))]
    frames = [source.read(video, index) for video, index in chosen]
    valid = np.concatenate([frame.depth[frame.depth > 0] for frame in frames])
    if not len(valid):
        raise DataError(f"{root}: no frame that was read has a known depth")
    size = _most_frequent([(frame.image.shape[0], frame.image.shape[1]) for frame in frames])
    depths = RANGES.get(name) or depth_range(valid)
    lines = [
        f"{name}: {counted(len(positions), 'frame')} in {root}",
        f"depth: median {np.median(valid):.3g} m, 99.5 % below {np.quantile(valid, 0.995):.3g} m",
    ]
    if "train" not in options:
        options["split"] = split_of(len(positions), root)
    return of_data_set(name, options, size, depths, PRESETS[name], gpu=gpu), lines, len(positions)


def _most_frequent(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return max(sorted(set(sizes)), key=sizes.count)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
