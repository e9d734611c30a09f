"""The unit of stored depth: one rule for ground truth and for predictions.

Floats are metres, integers are `data.depth_scale` units per metre; 0, NaN, infinity and the largest value of an integer
type (65535 of 16 bits) mean that the depth is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Stored = Literal["integers", "floats"]

# Units per metre -> description, with data sets that use the unit; the most common first.
CONVENTIONS: Final[dict[float, str]] = {
    1000.0: "millimetres, as in NYU, 7-Scenes, ScanNet",
    256.0: "as in KITTI",
    5000.0: "as in TUM RGB-D",
    100.0: "centimetres, as in Virtual KITTI",
    1.0: "metres",
    4000.0: "as in Matterport3D",
    6553.5: "as in Replica",
}


@dataclass(frozen=True)
class Unit:
    """The unit of a data set's depth. integers, floats: units per metre of depth that is stored as integers (16-bit
    images, integer arrays) or as floats. adjustable: set by the data set's options `depth_scale` and `float_scale`;
    otherwise defined by its format."""

    integers: float = 1000.0
    floats: float = 1.0
    adjustable: bool = False

    def of(self, stored: Stored) -> float:
        """Units per metre of depth with this storage type."""
        return self.integers if stored == "integers" else self.floats


@runtime_checkable
class HasUnit(Protocol):
    """A data set that declares the unit of depth in its files."""

    unit: Unit


def unit_of(source: object) -> Unit:
    """The unit of a data set's files; the default unit if the data set does not declare it."""
    return source.unit if isinstance(source, HasUnit) and isinstance(source.unit, Unit) else Unit()


def stored_as(values: NDArray[Any]) -> Stored:
    """The storage type of an array's numbers."""
    return "integers" if values.dtype.kind in "iu" else "floats"


def unknown(values: NDArray[Any], *, holes: bool = True) -> NDArray[np.bool_]:
    """Pixels whose stored depth is NaN, infinite or, with holes, an integer type's largest value. 0 and negative
    numbers are not among them."""
    if stored_as(values) == "floats":
        return np.asarray(np.isnan(values) | np.isposinf(values))
    largest: NDArray[np.bool_] = values == np.iinfo(values.dtype).max
    return largest & holes


def to_metres(values: NDArray[Any], unit: Unit, *, holes: bool = True) -> NDArray[np.float32]:
    """Stored depth as float32 metres, 0 where unknown. holes: the largest value of an integer type means unknown; False
    for inverse depth, whose largest value is the nearest depth. Negative numbers are not changed."""
    scale = unit.of(stored_as(values))
    with np.errstate(over="ignore"):
        metres = values.astype(np.float32)
        if scale != 1:
            metres = metres / np.float32(scale)
    overflown = np.isposinf(metres)  # numbers beyond float32 mean infinity, too
    return np.where(unknown(values, holes=holes) | overflown, np.float32(0), metres)


def convention(units: float) -> str:
    """`5000 units per metre (as in TUM RGB-D)`."""
    name = CONVENTIONS.get(units)
    return f"{units:g} units per metre" + (f" ({name})" if name else "")
