"""The text of lists and of a study file for a user's own data, made from a shipped study."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weightsearch.config.extends import shipped
from weightsearch.config.json_schema import EDITORS
from weightsearch.config.ranges import text_of
from weightsearch.data.source import SplitName
from weightsearch.errors import DataError, counted
from weightsearch.starter.detection import Detection

FEWEST: Final = 12  # frames that a study needs
FEW: Final = 60  # frames below which the gaps between splits are smaller
SPLIT_FOLDERS: Final[Mapping[str, SplitName]] = {
    "train": "train", "training": "train",
    "val": "validation", "validation": "validation", "valid": "validation", "eval": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
AREA: Final = 128 * 160  # pixels of the network's input on a CPU
AREA_ON_GPU: Final = 256 * 320
STEP: Final = 32  # encoders halve the image five times


@dataclass(frozen=True)
class OwnData:
    """The data section of a study. options: key -> value. comments: key -> comment. evaluation: name of a preset."""

    options: Mapping[str, Any]
    comments: Mapping[str, str]
    evaluation: str | None = None


def split_pairs(pairs: Sequence[tuple[Path, Path]], rgb: Path) -> dict[SplitName, list[tuple[Path, Path]]]:
    """The pairs by split, if the images are in folders named train, val and test; else all as `train`, which is cut by
    position. rgb: the folder of all images."""
    splits: dict[SplitName, list[tuple[Path, Path]]] = {}
    for image, depth in pairs:
        parts = image.relative_to(rgb).parts
        name = SPLIT_FOLDERS.get(parts[0].lower()) if len(parts) > 1 else None
        if name is None:
            return {"train": list(pairs)}
        splits.setdefault(name, []).append((image, depth))
    return splits if "train" in splits else {"train": list(pairs)}


def list_text(pairs: Sequence[tuple[Path, Path]], root: Path) -> str:
    """The text of a list: a line `image depth` for each frame, relative to root."""
    return "".join(f"{_word(image, root)} {_word(depth, root)}\n" for image, depth in pairs)


def _word(path: Path, root: Path) -> str:
    text = path.relative_to(root).as_posix()
    return f'"{text}"' if re.search(r"[\s,;]", text) else text


def of_pairs(depths: Detection, root: Path, lists: Mapping[SplitName, Path], frames: int, *, gpu: bool) -> OwnData:
    """The data section for pairs named by lists."""
    options: dict[str, Any] = {"name": "file_list", "root": str(root)}
    options |= {split: str(path) for split, path in lists.items()}
    options["depth_scale" if depths.stored == "integers" else "float_scale"] = depths.scale
    if depths.sparse:
        options["sparse"] = True
    options |= _common(depths.size, depths.min_depth, depths.max_depth, gpu=gpu)
    if lists.keys() == {"train"}:
        options["split"] = split_of(frames, root)
    unit = depths.unit if depths.other is None else f"{depths.unit}; {depths.how_likely}: {depths.other}"
    if not depths.given:
        unit += "; if it is wrong, run weightsearch init again with --force --depth-scale UNITS"
    comments = {
        "depth_scale": unit,
        "float_scale": unit,
        "sparse": "sparse depth, such as a laser scanner's",
        "max_depth": f"metres; here the median is {depths.median:.3g} m, 99.5 % is below {depths.reach:.3g} m",
        **COMMENTS,
    }
    return OwnData(options, comments)


COMMENTS: Final = {
    "size": "height, width of the network's input, best multiples of 32; larger is slower and more accurate",
    "split": "fractions, in the order of the frames; gap: frames left out between",
}


def of_data_set(
    name: str, options: Mapping[str, Any], size: tuple[int, int], depths: tuple[float, float], preset: str | None, *,
    gpu: bool,
) -> OwnData:  # fmt: skip
    """The data section for a supported data set. depths: the depth range, metres."""
    return OwnData({"name": name, **options, **_common(size, *depths, gpu=gpu)}, COMMENTS, preset)


def _common(size: tuple[int, int], low: float, high: float, *, gpu: bool) -> dict[str, Any]:
    return {"size": list(network_size(size, gpu=gpu)), "min_depth": low, "max_depth": high}


def network_size(size: tuple[int, int], *, gpu: bool) -> tuple[int, int]:
    """Height and width of the network's input for images of a size: of about the same proportions, in multiples of
    32."""
    height, width = size
    area = min(AREA_ON_GPU if gpu else AREA, height * width)
    factor = (area / (height * width)) ** 0.5
    rows, columns = (max(STEP, STEP * round(factor * side / STEP)) for side in (height, width))
    return rows, columns


def split_of(frames: int, whose: object) -> dict[str, Any]:
    """The section `split` for a number of frames. whose: the folder or list. Raises DataError for too few frames."""
    if frames < FEWEST:
        raise DataError(
            f"{whose}: {counted(frames, 'frame with depth', 'frames with depth')}; at least {FEWEST} are needed, to "
            "train, validate and test on different frames"
        )
    if frames < FEW:
        return {"train": 0.6, "validation": 0.2, "test": 0.2, "gap": 1}
    return {"train": 0.7, "validation": 0.15, "test": 0.15, "gap": 2}


def study_text(template: str, name: str, data: OwnData, frames: int | None = None) -> str:
    """The text of a study: a shipped study with other data. frames: number of frames, to limit the batch size."""
    lines = shipped()[template].read_text(encoding="utf-8").splitlines()
    body = [line for line in lines if not line.startswith("#")]
    text = "\n".join(body) + "\n"
    text = _replaced(text, "name", f"name: {name}")
    text = _replaced(text, "storage", f"storage: sqlite:///{name}.db")
    text = _replaced(text, "data", _section("data", data))
    if frames is not None:
        text = re.sub(r"batch_size: \d+", f"batch_size: {max(1, min(8, frames // 5))}", text)
    if data.evaluation is not None:
        text = text.replace("\nsearch:\n", f"\nevaluation: {data.evaluation}\nsearch:\n", 1)
    comment = (
        f"{EDITORS}\n"
        f"# Loss weights for your data, made from the shipped study {template!r} by weightsearch init.\n"
        "# Without pretrained weights results are poor; `weights: pretrained` downloads them once.\n"
    )
    return comment + text


def _replaced(text: str, key: str, section: str) -> str:
    """A study's text with a top-level section replaced."""
    return re.sub(rf"(?m)^{key}:.*\n(?:[ \t]+.*\n)*", lambda _: f"{section}\n", text, count=1)


def _section(key: str, data: OwnData) -> str:
    rows = [f"  {name}: {_yaml(value)}" for name, value in data.options.items()]
    comments = [data.comments.get(name, "") for name in data.options]
    lines = [f"{row}  # {comment}" if comment else row for row, comment in zip(rows, comments, strict=True)]
    return "\n".join([f"{key}:", *lines])


def _yaml(value: Any) -> str:
    if isinstance(value, str) and re.search(r"[:#{}\[\],&*!|>'\"%@`\\]|^\s|\s$|^[-?]|\$", value):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        return f"{value:g}" if "e" not in f"{value:g}" else repr(value)
    return text_of(value)
