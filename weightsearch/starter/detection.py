"""The unit and the range of depth maps, from their pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from weightsearch.data.images import read_array, read_colour, read_uint16
from weightsearch.data.plausible import FLOATS, MEDIANS, RARER
from weightsearch.data.units import CONVENTIONS, Stored, convention, stored_as, unknown
from weightsearch.errors import DataError

SAMPLED: Final = 64  # sampled frames, at most
PIXELS: Final = 4000  # sampled pixels of a frame, at most
WIDE: Final = 2.0  # width over height above which images show a street
SPARSE: Final = 0.35  # share of known pixels below which depth comes from a laser
REACHES: Final = {True: (20.0, 130.0), False: (0.8, 11.0)}  # usual 99.5 % quantiles of streets and of rooms, metres
POSSIBLE: Final = (0.3, 60.0)  # medians that depth maps may have, metres
OPEN: Final = 3.5  # 99.5 % quantile over median above which depth shows a street
OF_STREETS: Final = (256.0,)  # units per metre that only recordings of streets have
UNLIKELY: Final = 1.0  # penalty for depth of a street in images of a room, and the reverse
CLOSE: Final = 0.15  # difference of penalties below which the second unit is reported too
ENDS: Final = (0.5, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40, 50, 60, 80, 100, 120, 150, 200, 300, 500, 1000)
STARTS: Final = (1e-3, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Detection:
    """Detected properties of depth maps. stored: integers or floats. scale: units per metre. unit: the unit's name.
    given: the user gave the unit. other: another unit that is nearly as likely or, if the user gave the unit,
    likelier; None if there is none. median, reach: the median and the 99.5 % quantile, metres. min_depth, max_depth:
    a range that contains nearly all depths, metres. size: height and width of the images, pixels. sparse: depth is
    known at single pixels."""

    stored: Stored
    scale: float
    unit: str
    given: bool
    other: str | None
    median: float
    reach: float
    min_depth: float
    max_depth: float
    size: tuple[int, int]
    sparse: bool

    @property
    def how_likely(self) -> str:
        """How likely the other unit is."""
        return "likelier by the pixels" if self.given else "nearly as likely"


def detect(pairs: Sequence[tuple[Path, Path]], scale: float | None = None) -> Detection:
    """Detect unit and range from some of the pairs. scale: units per metre, if they are known. Raises DataError for a
    file that cannot be read or is not a depth map, and for pairs of different sizes."""
    chosen = pairs[:: max(1, -(-len(pairs) // SAMPLED))]
    samples: list[NDArray[Any]] = []
    shares: list[float] = []
    size = (0, 0)
    stored: Stored | None = None
    for image, depth in chosen:
        values = _read(depth)
        size = _checked_size(image, depth, values)
        kind = stored_as(values)
        if stored not in (None, kind):
            raise DataError(f"{depth}: holds {kind}, other depth maps {stored}; all must hold the same")
        stored = kind
        valid = _valid_depths(values)
        shares.append(len(valid) / values.size)
        samples.append(valid[:: max(1, -(-len(valid) // PIXELS))].astype(np.float64))
    numbers = np.concatenate(samples) if samples else np.empty(0)
    if stored is None or not len(numbers):
        whose = pairs[0][1] if pairs else "the list"
        raise DataError(f"{whose}: no depth map has a known pixel (all are 0, 65535, NaN or infinite)")
    sparse = float(np.mean(shares)) < SPARSE
    return _detection(numbers, stored, size, scale, sparse=sparse)


def units(numbers: NDArray[np.float64], stored: Stored, *, street: bool) -> list[tuple[float, float, str]]:
    """Penalty, units per metre and name of every possible unit, the likeliest first. numbers: known depths in the
    stored unit. street: whether the images look like a street from a car."""
    median, reach = float(np.median(numbers)), float(np.quantile(numbers, 0.995))
    open_ = reach > OPEN * median
    rated = []
    for rank, (scale, name) in enumerate(_names(stored).items()):
        kinds = [
            _outside(median / scale, MEDIANS[kind])
            + _outside(reach / scale, REACHES[kind])
            + UNLIKELY * (kind is not street)
            + UNLIKELY * (kind and not open_)
            for kind in (True, False)
        ]
        unusual = UNLIKELY * (scale in OF_STREETS and not street)
        rated.append((min(kinds) + RARER * rank + unusual, scale, name))
    return sorted(rated)


def _names(stored: Stored) -> dict[float, str]:
    """The names of the common units by units per metre, the most common first."""
    if stored == "integers":
        return {scale: convention(scale) for scale in CONVENTIONS}
    return {1.0: FLOATS[1.0], **FLOATS}


def _detection(
    numbers: NDArray[np.float64], stored: Stored, size: tuple[int, int], given: float | None, *, sparse: bool
) -> Detection:
    street = size[1] > WIDE * size[0] or sparse
    (penalty, scale, unit), (second, _, runner_up), *_ = units(numbers, stored, street=street)
    other = runner_up if second - penalty < CLOSE else None
    if given is not None:
        other = unit if given != scale else None
        scale, unit = given, _names(stored).get(given, convention(given))
    metres = numbers / scale
    low, high = depth_range(metres)
    return Detection(
        stored=stored,
        scale=scale,
        unit=unit,
        given=given is not None,
        other=other,
        median=float(np.median(metres)),
        reach=float(np.quantile(metres, 0.995)),
        min_depth=low,
        max_depth=high,
        size=size,
        sparse=sparse,
    )


def other_medians(detected: Detection) -> list[str]:
    """Each other common unit that is possible, with the median in metres: `100 for a median of 1.82 m`."""
    scales = CONVENTIONS if detected.stored == "integers" else FLOATS
    medians = {scale: detected.median * detected.scale / scale for scale in scales if scale != detected.scale}
    low, high = POSSIBLE
    return [f"{scale:g} for a median of {median:.3g} m" for scale, median in medians.items() if low <= median <= high]


def depth_range(metres: NDArray[Any]) -> tuple[float, float]:
    """A range with round ends that contains nearly all of these depths, metres."""
    far, near = float(np.quantile(metres, 0.999)), float(np.quantile(metres, 0.001))
    high = next((end for end in ENDS if end >= 1.02 * far), math.ceil(1.02 * far))
    low = next((start for start in reversed(STARTS) if start <= 0.8 * near), STARTS[0])
    return float(low), float(high)


def _outside(value: float, usual: tuple[float, float]) -> float:
    """The distance of a value from its usual range, in units of the logarithm; 0 inside."""
    low, high = usual
    return max(0.0, math.log(low / max(value, 1e-12)), math.log(max(value, 1e-12) / high))


def _read(path: Path) -> NDArray[Any]:
    values = read_array(path) if path.suffix.lower() == ".npy" else read_uint16(path)
    if values.ndim != 2:
        raise DataError(f"{path}: expected an array [H, W], found {list(values.shape)}")
    return values


def _valid_depths(values: NDArray[Any]) -> NDArray[Any]:
    valid: NDArray[Any] = values[~unknown(values) & (values > 0)]
    return valid


def _checked_size(image: Path, depth: Path, values: NDArray[Any]) -> tuple[int, int]:
    height, width = read_colour(image).shape[:2]
    if values.shape != (height, width):
        raise DataError(
            f"{depth}: {values.shape[1]}x{values.shape[0]} pixels, its image {image} has {width}x{height}; both must "
            "have one size and show the same part of the scene"
        )
    return height, width
