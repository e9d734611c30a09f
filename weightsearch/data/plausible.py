"""Detection of depth that is read in a wrong unit, from its numbers alone.

Depth has no scale of its own, so some mistakes cannot be detected: a room that is read five times too deep (TUM RGB-D
at 1000 units per metre) looks like a hall in the right unit if `data.max_depth` is 20 m or more. `data check` prints
the median.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from weightsearch.config.schema import Configuration
from weightsearch.data.cache import build_source
from weightsearch.data.dataset import Dataset
from weightsearch.data.source import Source, SplitName
from weightsearch.data.units import CONVENTIONS, convention, unit_of
from weightsearch.errors import DataError

Depths = NDArray[np.float32]

SAMPLED: Final = 400  # sampled pixels of a frame, at most
FRAMES: Final = 64  # sampled frames of a training's data, at most
OUT: Final = 0.2  # share of the known depth outside the range above which other units are tried
SOME: Final = 0.05  # the same for the share above the range, if the median is unusual too
LOST: Final = 0.5  # share outside the range above which there is a warning; an error if another unit is recognised
FITS: Final = 0.95  # share of the known depth within the range under another unit
REACH: Final = 0.2  # share of max_depth that the depth must reach under another unit
USUAL_REACH: Final = 0.8
RARER: Final = 0.2  # penalty for each rank in CONVENTIONS, in units of the log of the reach
STREET: Final = 40.0  # metres: a max_depth of this and above is that of streets, below of rooms
MEDIANS: Final = {True: (4.5, 60.0), False: (0.7, 6.0)}  # usual medians of streets and of rooms, metres
SMALL: Final = {True: 0.35, False: 0.2}  # share of max_depth that plausible depth reaches, for streets and rooms
# The depth's 99.5 % quantile over its median does not depend on the unit: it is at most 2.6 in 7-Scenes and NYU and at
# least 4.8 in KITTI. Depth with a smaller ratio than this is a room's.
ENCLOSED: Final = 3.5
TRUST: Final = "if the unit is right, set analysis.check_units: false"

FLOATS: Final = {1000.0: "millimetres", 100.0: "centimetres", 1.0: "metres"}


@dataclass(frozen=True)
class Reading:
    """The conversion of a data set's depth to metres. kind: stored integers or floats, whose unit an option sets;
    `own`, by a user's class; `fixed`, by the data set's format. scale: units per metre."""

    kind: Literal["integers", "floats", "own", "fixed"]
    scale: float = 1.0


@dataclass(frozen=True)
class Candidate:
    """Another possible unit. factor: converts the depth as it is read to metres in that unit. name: the unit's name.
    remedy: the advice to the user. rank: position in the list of units, the most common first."""

    factor: float
    name: str
    remedy: str
    rank: int


@dataclass(frozen=True)
class Doubt:
    """A warning about a unit. factor: converts the depth as it is read to metres; None if no unit is recognised.
    outside: the share of the known depth outside the range."""

    text: str
    factor: float | None = None
    outside: float = 0.0

    @property
    def refused(self) -> bool:
        """True if training and measuring must stop: another unit is recognised, and most of the depth is outside the
        range. Otherwise the range may be intended."""
        return self.factor is not None and self.outside > LOST


def sample_of(depth: Depths) -> Depths:
    """At most SAMPLED of a depth map's known pixels, evenly spread."""
    valid = depth[depth > 0]
    return valid[:: max(1, -(-len(valid) // SAMPLED))]


def reading_of(configuration: Configuration, source: Source) -> Reading:
    """The conversion of depth to metres by a configuration's data set."""
    unit = unit_of(source)
    if ":" in configuration.data.name and not unit.adjustable:
        return Reading("own")
    stored = getattr(source, "stored", None)
    if not unit.adjustable or not callable(stored):
        return Reading("fixed")
    try:
        kind = stored()
    except DataError:  # reading the frame reports the error
        return Reading("fixed")
    return Reading(kind, unit.of(kind))


def dataset_doubts(dataset: Dataset, splits: Sequence[SplitName] = ("train", "validation")) -> list[Doubt]:
    """Warnings about the unit of these splits' depth, from some of their frames."""
    order = np.concatenate([dataset.splits[split] for split in splits])
    chosen = order[:: max(1, -(-len(order) // FRAMES))]
    samples = [sample_of(np.asarray(dataset.frames.depth[index])) for index in chosen]
    configuration = dataset.configuration
    return truth_doubts(samples, configuration, lambda: reading_of(configuration, build_source(configuration)))


def truth_doubts(
    samples: Sequence[Depths], configuration: Configuration, reading: Callable[[], Reading]
) -> list[Doubt]:
    """Warnings about the unit of ground truth. samples: known depths of each frame, metres as they are read. reading:
    called only if the depth is implausible."""
    if not configuration.analysis.check_units:
        return []
    depths = np.concatenate(samples) if len(samples) else np.empty(0, np.float32)
    if not len(depths):
        return []
    data = configuration.data
    above, below = _outside(depths, data.min_depth, data.max_depth)
    doubt = _other_unit(depths, data.min_depth, data.max_depth, reading)
    if doubt is not None:
        return [replace(doubt, outside=above + below)]
    if above + below <= LOST:
        return []
    return [
        Doubt(
            f"data: {above + below:.0%} of the known depth is outside data.min_depth {data.min_depth:g} and "
            f"data.max_depth {data.max_depth:g} m (median {np.median(depths):.3g} m): these pixels are neither trained "
            f"nor measured on; {TRUST}",
            outside=above + below,
        )
    ]


def _other_unit(depths: Depths, low: float, high: float, reading: Callable[[], Reading]) -> Doubt | None:
    above, below = _outside(depths, low, high)
    reach, median = float(np.quantile(depths, 0.995)), float(np.median(depths))
    street = high >= STREET
    unused = reach < SMALL[street] * high and median < MEDIANS[street][0]
    or_else = ""
    if above > OUT or (above > SOME and median > MEDIANS[street][1]):
        or_else = ", or raise data.max_depth" if above <= LOST else ""
        what = f"{above:.0%} of the known depth is above data.max_depth {high:g} m"
    elif below > OUT:
        or_else = ", or lower data.min_depth" if below <= LOST else ""
        what = f"{below:.0%} of the known depth is below data.min_depth {low:g} m"
    elif unused:
        or_else = ", or lower data.max_depth"
        what = f"99.5 % of the known depth is below {reach:.3g} m, {reach / high:.0%} of data.max_depth {high:g} m"
    else:
        return None
    fitting = [
        candidate
        for candidate in candidates(reading(), high, float(depths.max()))
        if _fits(depths * np.float32(candidate.factor), low, high)
    ]
    if not fitting:
        return None
    if unused and street and _like_a_room(reach, median):
        return Doubt(
            f"data: 99.5 % of the known depth is below {reach:.3g} m (median {median:.3g} m), as in a room, but "
            f"data.max_depth is {high:g} m: lower data.max_depth, or correct the unit if these are streets; {TRUST}"
        )
    best = min(
        fitting,
        key=lambda candidate: abs(np.log(candidate.factor * reach / (USUAL_REACH * high))) + RARER * candidate.rank,
    )
    return Doubt(
        f"data: {what} (median {median:.3g} m): the depth looks like {best.name}: {best.remedy}{or_else}; {TRUST}",
        best.factor,
    )


def _like_a_room(reach: float, median: float) -> bool:
    """True if the depth, metres, is that of a room in the right unit: by its size, and by its proportions, which do not
    depend on the unit."""
    smallest, largest = MEDIANS[False]
    return smallest <= median <= largest and reach < ENCLOSED * median


def candidates(reading: Reading, high: float, largest: float) -> list[Candidate]:
    """Other possible units of the depth; none if the data set's format defines the unit. high: max_depth, metres.
    largest: the largest depth, metres as it is read."""
    others: list[Candidate] = []
    if reading.kind in ("integers", "own"):
        scale = reading.scale if reading.kind == "integers" else 1000.0
        for rank, units in enumerate(CONVENTIONS):
            factor = scale / units
            remedy = f"set data.depth_scale: {units:g}"
            name = convention(units)
            if reading.kind == "own":
                name += " read as millimetres"
                remedy = _own(factor)
            others.append(Candidate(factor, name, remedy, rank))
    if reading.kind in ("floats", "own"):
        for rank, (units, name) in enumerate(FLOATS.items()):
            factor = reading.scale / units
            remedy = f"floats are read as {_floats(reading.scale)}: set data.float_scale: {units:g}"
            others.append(Candidate(factor, name, _own(factor) if reading.kind == "own" else remedy, rank))
        if largest * reading.scale <= 1.001:
            factor = reading.scale * high
            remedy = f"set data.float_scale: {1 / high:g}"
            others.append(
                Candidate(factor, "shares of max_depth, 0 to 1", _own(factor) if reading.kind == "own" else remedy, 3)
            )
    return [candidate for candidate in others if not np.isclose(candidate.factor, 1)]


def _own(factor: float) -> str:
    change = f"multiply by {factor:.4g}" if factor > 1 else f"divide by {1 / factor:.4g}"
    return f"a data set's frames hold metres: {change} in its class"


def _floats(scale: float) -> str:
    return FLOATS.get(scale, f"{scale:g} units per metre")


def _outside(depths: Depths, low: float, high: float) -> tuple[float, float]:
    """The shares of depths at or above the range, and at or below it."""
    return float(np.mean(depths >= high)), float(np.mean(depths <= low))


def _fits(depths: Depths, low: float, high: float) -> bool:
    """True if median and reach of the depths, metres, are usual for this range."""
    above, below = _outside(depths, low, high)
    smallest, largest = MEDIANS[high >= STREET]
    median, reach = float(np.median(depths)), float(np.quantile(depths, 0.995))
    return above + below <= 1 - FITS and smallest <= median <= largest and reach >= REACH * high
