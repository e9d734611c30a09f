"""Evaluation of depth maps from another program, under the same protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from typing import Protocol as Kind

import numpy as np
import torch
from numpy.typing import NDArray

from weightsearch.config.schema import Configuration
from weightsearch.data.cache import build_source, videos_of
from weightsearch.data.hidden import visible
from weightsearch.data.images import PICTURES, read_array, read_uint16
from weightsearch.data.plausible import reading_of, sample_of, truth_doubts
from weightsearch.data.reading import Progress, names_of, read_all, resized_depth, usable
from weightsearch.data.source import Frame, Size, Source, SplitName, Video
from weightsearch.data.split import cut, with_neighbours
from weightsearch.data.units import Stored, Unit, convention, stored_as, to_metres, unit_of
from weightsearch.errors import DataError, counted
from weightsearch.evaluation.prediction_units import Samples
from weightsearch.evaluation.protocols import own_metrics, protocol_of
from weightsearch.metrics.depth_metrics import DepthMetrics
from weightsearch.metrics.protocol import CROPS, Protocol, crop_box, crop_size, misfit
from weightsearch.plugins import known_words
from weightsearch.records import EvaluationSize

SUFFIXES: Final = (".npy", ".png")
SMALLEST: Final = 1e-6  # inverse depth, 1/metres
CHUNK: Final = 32  # frames whose ground truth is in memory at a time
WHOLE: Final = "whole"
PARTS: Final = (WHOLE, *(name for name in (*CROPS, "kb") if name != "none"))

Map = NDArray[np.float32]
Note = Callable[[str], None]


@dataclass(frozen=True)
class Meaning:
    """Meaning of the numbers in predictions. inverse: 1/depth (or disparity, if the protocol scales by medians) instead
    of depth. scale: units per metre; if None, as in the dataset: floats are metres, integers are in `data.depth_scale`
    units. part: image region that the maps cover, `whole` (any proportions) or a crop; if None, inferred from their
    size."""

    inverse: bool = False
    scale: float | None = None
    part: str | None = None


def frame_names(configuration: Configuration, split: SplitName) -> list[str]:
    """Names of a split's frames, in order. Raises DataError."""
    source = build_source(configuration)
    videos = videos_of(configuration, source)
    return names_of(source, videos, _order(configuration, source, videos, split))


def _order(configuration: Configuration, source: Source, videos: Sequence[Video], split: SplitName) -> list[int]:
    """Indices of a split's frames, as used in training and evaluation."""
    data = configuration.data
    indices = {split: cut(videos, data.split, (split,))[split]}
    every = range(sum(video.length for video in videos))
    names = names_of(source, videos, every) if data.neighbours else ()
    return with_neighbours(indices, videos, data.neighbours, names)[split]


def evaluate_predictions(
    configuration: Configuration,
    path: Path,
    split: SplitName,
    meaning: Meaning,
    progress: Progress | None = None,
    note: Note = lambda _: None,
) -> tuple[dict[str, float], Protocol]:
    """Evaluate predictions on a split. Returns the metrics and the protocol.

    path: a `.npy` file with an array [N, h, w] or [N, 1, h, w], in the order of the split's frames; or a folder with a
    `.npy` or 16-bit `.png` file per frame. The files are named as the frames' files, or have the frames' numbers in
    their names (further files are ignored), or are numbered from 0 or 1 in the order of the frames. A map with the
    proportions of the ground truth or of the frame's image covers the whole image; a map with the size of the
    protocol's crop covers that crop; for any other map, meaning.part must be given. note: called with messages: the
    assignment of files to frames if names differ, the crop of the maps, the unit of integers, doubts about the unit.
    Raises DataError for unusable predictions, including an impossible unit."""
    if meaning.part is not None and meaning.part not in PARTS:
        raise DataError(f"unknown part {meaning.part!r}{known_words(meaning.part, PARTS)}")
    source = build_source(configuration)
    unit = unit_of(source) if meaning.scale is None else Unit(meaning.scale, meaning.scale)
    array = _Array(path, meaning, unit) if path.is_file() else None
    if array is None and not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    names = frame_names(configuration, split)
    predictions: _Predictions = array or _Folder(path, meaning, unit, names, note)
    if len(predictions) != len(names):
        ends = f" ({names[0]} ... {names[-1]}; `weightsearch data frames` lists them)" if names else ""
        raise DataError(
            f"{path}: {counted(len(predictions), 'prediction')}, the {split} split has "
            f"{counted(len(names), 'frame')}{ends}"
        )
    protocol = replace(protocol_of(configuration, split), flip_average=False, bits=None)
    metrics = DepthMetrics(protocol, torch.device("cpu"), own_metrics(configuration))
    samples, depths = Samples(path, protocol, meaning.inverse), []
    told: str | None = None
    natives: set[Size] = set()
    for position, (true, native) in enumerate(_truths(configuration, split, protocol.size, progress)):
        name, stored, values = predictions.read(position)
        if not values.size:
            raise DataError(f"{name}: an empty prediction, {list(values.shape)}")
        size = (true.shape[0], true.shape[1])
        natives.add(native)
        if meaning.part is not None:
            _check_shown(meaning.part, protocol.crop, size)
        part = meaning.part or _part(name, (values.shape[0], values.shape[1]), protocol.crop, size, native)
        if part != told and meaning.part is None and part != WHOLE:
            note(f"{name}: {_by(values.shape)} pixels are taken for the crop {part}")
        told = part
        predicted, truth = _depth(name, values, meaning, part, size), torch.from_numpy(true)[None, None]
        metrics.update(predicted, truth)
        samples.update(predicted, truth, stored)
        depths.append(sample_of(true))
    if samples.stored == "integers" and meaning.scale is None:
        note(f"integers of {path} are read as {convention(unit.integers)}, as the data set's are; --scale sets others")
    measured = metrics.compute()
    for line in _warnings(configuration, source, protocol, unit, natives, depths, samples):
        note(f"warning: {line}")
    return measured, protocol


def _warnings(
    configuration: Configuration,
    source: Source,
    protocol: Protocol,
    unit: Unit,
    natives: set[Size],
    depths: Sequence[Map],
    samples: Samples,
) -> Iterator[str]:
    """Warnings about the crop and the units of ground truth and predictions, a line each. Raises DataError for an
    impossible unit, of the predictions or (if float predictions contradict it) of the ground truth."""
    if other := misfit(protocol.crop, natives):
        yield other
    wrong = truth_doubts(depths, configuration, lambda: reading_of(configuration, source))
    for doubt in wrong:
        if (doubt.refused and not samples.agree()) or samples.agree(doubt.factor):
            raise DataError(doubt.text)
        yield doubt.text
    if configuration.analysis.check_units:
        yield from (f"{samples.path}: {line}" for line in samples.doubts(unit))


def _truths(
    configuration: Configuration, split: SplitName, size: EvaluationSize, progress: Progress | None
) -> Iterator[tuple[Map, Size]]:
    """Ground-truth depth of a split's frames in order, metres, [h, w], at a size or at native size, with the native
    sizes. Reads CHUNK frames at a time, of this split only."""
    source = build_source(configuration)
    videos = videos_of(configuration, source)
    order = _order(configuration, source, videos, split)

    def true_depth(_: int, frame: Frame) -> tuple[Map, Size]:
        own = (frame.depth.shape[0], frame.depth.shape[1])
        return resized_depth(frame, own if size == "native" else size), own

    for start in range(0, len(order), CHUNK):
        part = order[start : start + CHUNK]
        for reading in usable(read_all(source, videos, true_depth, indices=part), videos):
            if reading.found is not None:
                yield reading.found
        if progress is not None:
            progress(start + len(part), len(order))


class _Predictions(Kind):
    def __len__(self) -> int: ...

    def read(self, position: int) -> tuple[str, Stored, Map]:
        """Name for errors, storage type, and depth in metres (1/metres if inverse), [h, w]."""
        ...


class _Array:
    def __init__(self, path: Path, meaning: Meaning, unit: Unit) -> None:
        self.path = path
        self.meaning = meaning
        self.unit = unit
        self.values = read_array(path, mapped=True)
        if self.values.ndim == 4 and self.values.shape[1] == 1:
            self.values = self.values[:, 0]
        if self.values.ndim != 3:
            raise DataError(f"{path}: expected an array [N, h, w] or [N, 1, h, w], found {list(self.values.shape)}")

    def __len__(self) -> int:
        return len(self.values)

    def read(self, position: int) -> tuple[str, Stored, Map]:
        name = f"{self.path}, number {position}"
        values = self.values[position]
        return name, stored_as(values), _metres(name, values, self.meaning, self.unit)


class _Folder:
    def __init__(self, path: Path, meaning: Meaning, unit: Unit, names: Sequence[str], note: Note) -> None:
        files = [file for file in visible(path.iterdir(), path) if file.suffix.lower() in SUFFIXES]
        by_stem = {file.stem: file for file in files}
        if len(by_stem) < len(files):
            raise DataError(f"{path}: two files of one name, such as .npy and .png of the same frame")
        self.files, how = _paired(path, by_stem, [_stem(name) for name in names])
        if how and self.files:
            note(f"{how}: {self.files[0].name} is taken for {names[0]}, {self.files[-1].name} for {names[-1]}")
        self.meaning = meaning
        self.unit = unit

    def __len__(self) -> int:
        return len(self.files)

    def read(self, position: int) -> tuple[str, Stored, Map]:
        file = self.files[position]
        values: NDArray[Any] = read_uint16(file) if file.suffix.lower() == ".png" else np.squeeze(read_array(file))
        if values.ndim != 2:
            raise DataError(f"{file}: expected an array [h, w], found {list(values.shape)}")
        return str(file), stored_as(values), _metres(str(file), values, self.meaning, self.unit)


def _metres(name: str, values: NDArray[Any], meaning: Meaning, unit: Unit) -> Map:
    """Convert to metres, or 1/metres; 0 where an integer marks a missing prediction."""
    if not np.isfinite(values).all():
        raise DataError(f"{name}: a prediction is not finite")
    return to_metres(values, unit, holes=not meaning.inverse)


def _paired(folder: Path, files: Mapping[str, Path], stems: Sequence[str]) -> tuple[list[Path], str]:
    """Assign a file to each frame; also returns how, in words, if the names differ.

    Files are assigned by name, else by the last number in the names if it is unique, else in order if they are numbered
    from 0 or 1. Raises DataError.
    """
    if not stems or len(files) < len(stems):
        return list(files.values()), ""
    for way, how in WAYS.items():
        if (paired := way(files, stems)) is not None:
            return paired, how
    missing = next((stem for stem in stems if stem not in files), stems[0])
    raise DataError(
        f"{folder}: no prediction of the frame {missing}: files must be named as the frames, have their numbers, or be "
        "numbered from 0 or 1 on in the frames' order; `weightsearch data frames` lists them"
    )


def _by_name(files: Mapping[str, Path], stems: Sequence[str]) -> list[Path] | None:
    if len(set(stems)) < len(stems) or any(stem not in files for stem in stems):
        return None
    return [files[stem] for stem in stems]


def _by_number(files: Mapping[str, Path], stems: Sequence[str]) -> list[Path] | None:
    wanted = [_last_number(stem) for stem in stems]
    numbered = {_last_number(stem): file for stem, file in files.items()}
    unique = len(numbered) == len(files) and len(set(wanted)) == len(stems)
    if not unique or None in wanted or any(number not in numbered for number in wanted):
        return None
    return [numbered[number] for number in wanted]


def _in_order(files: Mapping[str, Path], stems: Sequence[str]) -> list[Path] | None:
    count = len(files)
    numbered = {number: file for stem, file in files.items() if (number := _last_number(stem)) is not None}
    if count != len(stems) or numbered.keys() not in (set(range(count)), set(range(1, count + 1))):
        return None
    return [numbered[number] for number in sorted(numbered)]


# Way to assign files to frames -> its description; the first that finds a file for each frame is used.
WAYS: Final[Mapping[Callable[[Mapping[str, Path], Sequence[str]], list[Path] | None], str]] = {
    _by_name: "",
    _by_number: "files found by the number in their names",
    _in_order: "files in the order of their numbers",
}


def _stem(name: str) -> str:
    """File stem of a frame's prediction: the stem of its image file, or the frame's name if a file has many frames."""
    last = Path(name)
    return last.stem if last.suffix.lower() in PICTURES else last.name


def _last_number(stem: str) -> int | None:
    numbers = re.findall("[0-9]+", stem)
    return int(numbers[-1]) if numbers else None


def _part(name: str, shape: Size, of_protocol: str, size: Size, native: Size) -> str:
    """Image region that a map of this shape covers: the whole image or the protocol's crop. Raises DataError if it is
    ambiguous."""
    sizes = {size, native}
    if shape in sizes:
        return WHOLE
    fits = [crop for crop in PARTS[1:] if any(shape == crop_size(crop, size) for size in sizes)]
    if of_protocol in fits:
        return of_protocol
    if not fits and any(_proportional(shape, size) for size in sizes):
        return WHOLE
    raise DataError(
        f"{name}: {_by(shape)} pixels are not of the proportions of the truth's {_by(size)}; say what they "
        f"show: {' or '.join(f'--part {part}' for part in (WHOLE, *fits))}"
    )


def _proportional(shape: Size, size: Size) -> bool:
    """Return True if two sizes have the same proportions, up to rounding to whole pixels."""
    ratio = size[1] / size[0]
    return abs(shape[1] - shape[0] * ratio) < 1 or abs(shape[0] - shape[1] / ratio) < 1


def _check_shown(part: str, counted: str, size: Size) -> None:
    """Raise DataError if the protocol's crop has pixels that the part does not cover. counted: the protocol's crop."""
    inner, outer = (crop_box(crop, size) for crop in (counted, "none" if part == WHOLE else part))
    if any(inner[i] < outer[i] or inner[i + 1] > outer[i + 1] for i in (0, 2)):
        raise DataError(
            f"evaluation.crop {counted} counts pixels that predictions of the part {part} do not show; set "
            f"evaluation.crop to {part}, or to a crop that lies in it"
        )


def _by(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"


def _depth(name: str, values: Map, meaning: Meaning, part: str, size: Size) -> torch.Tensor:
    """Convert a map to metres at the ground truth's size, [1, 1, H, W]. 1/depth is resized before it is inverted.
    Pixels outside the part, which the protocol does not count, are 1."""
    if not (values > 0).any():
        raise DataError(f"{name}: no prediction is above 0")
    depth = torch.from_numpy(values)[None, None]
    height, width = size
    top, bottom, left, right = crop_box("none" if part == WHOLE else part, size)
    if values.shape != (bottom - top, right - left):
        depth = torch.nn.functional.interpolate(
            depth, size=(bottom - top, right - left), mode="bilinear", align_corners=False
        )
    depth = 1 / depth.clamp(min=SMALLEST) if meaning.inverse else depth
    return torch.nn.functional.pad(depth, (left, width - right, top, height - bottom), value=1.0)
