"""Detect depth that is read in a wrong unit, from its numbers alone.

Depth has no scale of its own, so some mistakes stay unnoticed: a room that is read five times too deep (TUM RGB-D at
1000 units per metre) looks like a hall in the right unit if `data.max_depth` is 20 m or more. `data check` prints the
median.
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

SAMPLED: Final = 400  # pixels of a frame
FRAMES: Final = 64  # of a training's, at most
OUT: Final = 0.2  # share of the known depth outside the range from which other units are tried
SOME: Final = 0.05  # the same share above the range, if the median is unusual too
LOST: Final = 0.5  # share outside the range above which a warning is given without another unit, an error with one
FITS: Final = 0.95  # share of the known depth within the range under another unit
REACH: Final = 0.2  # share of max_depth that the depth must reach under another unit
USUAL_REACH: Final = 0.8
RARER: Final = 0.2  # penalty for each place in CONVENTIONS, in units of the log of the reach
STREET: Final = 40.0  # metres: a max_depth of this and above is that of streets, below of rooms
MEDIANS: Final = {True: (4.5, 60.0), False: (0.7, 6.0)}  # usual medians of streets and of rooms, metres
SMALL: Final = {True: 0.35, False: 0.2}  # of max_depth: depth that goes no further is suspect
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
    """Another unit. factor: depth as it is read times this is metres in that unit. name: the unit's. remedy: the advice
    to the user. rank: place in the list of units, the most common first."""

    factor: float
    name: str
    remedy: str
    rank: int


@dataclass(frozen=True)
class Doubt:
    """A warning about a unit. factor: depth as it is read times this is metres; None if no unit is recognised.
    outside: the share of the known depth outside the range."""

    text: str
    factor: float | None = None
    outside: float = 0.0

    @property
    def refused(self) -> bool:
        """True if nothing is to be trained or measured: another unit is recognised, and most of the depth is outside
        the range. A range that leaves out less of it, or without another unit, may be meant."""
        return self.factor is not None and self.outside > LOST


def sample_of(depth: Depths) -> Depths:
    """At most SAMPLED of a depth map's known pixels, evenly spread."""
    known = depth[depth > 0]
    return known[:: max(1, -(-len(known) // SAMPLED))]


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
    except DataError:  # reading the frame says what is wrong
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
    known = np.concatenate(samples) if len(samples) else np.empty(0, np.float32)
    if not len(known):
        return []
    data = configuration.data
    above, below = _outside(known, data.min_depth, data.max_depth)
    found = _other_unit(known, data.min_depth, data.max_depth, reading)
    if found is not None:
        return [replace(found, outside=above + below)]
    if above + below <= LOST:
        return []
    return [
        Doubt(
            f"data: {above + below:.0%} of the known depth is outside data.min_depth {data.min_depth:g} and "
            f"data.max_depth {data.max_depth:g} m (median {np.median(known):.3g} m): these pixels are neither trained "
            f"nor measured on; {TRUST}",
            outside=above + below,
        )
    ]


def _other_unit(known: Depths, low: float, high: float, reading: Callable[[], Reading]) -> Doubt | None:
    above, below = _outside(known, low, high)
    reach, median = float(np.quantile(known, 0.995)), float(np.median(known))
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
        one
        for one in candidates(reading(), high, float(known.max()))
        if _fits(known * np.float32(one.factor), low, high)
    ]
    if not fitting:
        return None
    if unused and street and _like_a_room(reach, median):
        return Doubt(
            f"data: 99.5 % of the known depth is below {reach:.3g} m (median {median:.3g} m), as in a room, but "
            f"data.max_depth is {high:g} m: lower data.max_depth, or correct the unit if these are streets; {TRUST}"
        )
    best = min(fitting, key=lambda one: abs(np.log(one.factor * reach / (USUAL_REACH * high))) + RARER * one.rank)
    return Doubt(
        f"data: {what} (median {median:.3g} m): the depth looks like {best.name}: {best.remedy}{or_else}; {TRUST}",
        best.factor,
    )


def _like_a_room(reach: float, median: float) -> bool:
    """True if depth, metres, is that of a room in the right unit: by its size, and by its proportions, which no unit
    changes."""
    smallest, largest = MEDIANS[False]
    return smallest <= median <= largest and reach < ENCLOSED * median


def candidates(reading: Reading, high: float, largest: float) -> list[Candidate]:
    """Other units that depth may be in; none where the data set's format says it. high: max_depth, metres. largest:
    of the depths, metres as they are read."""
    found: list[Candidate] = []
    if reading.kind in ("integers", "own"):
        scale = reading.scale if reading.kind == "integers" else 1000.0
        for rank, units in enumerate(CONVENTIONS):
            factor = scale / units
            remedy = f"set data.depth_scale: {units:g}"
            name = convention(units)
            if reading.kind == "own":
                name += " read as millimetres"
                remedy = _own(factor)
            found.append(Candidate(factor, name, remedy, rank))
    if reading.kind in ("floats", "own"):
        for rank, (units, name) in enumerate(FLOATS.items()):
            factor = reading.scale / units
            remedy = f"floats are read as {_floats(reading.scale)}: set data.float_scale: {units:g}"
            found.append(Candidate(factor, name, _own(factor) if reading.kind == "own" else remedy, rank))
        if largest * reading.scale <= 1.001:
            factor = reading.scale * high
            remedy = f"set data.float_scale: {1 / high:g}"
            found.append(
                Candidate(factor, "shares of max_depth, 0 to 1", _own(factor) if reading.kind == "own" else remedy, 3)
            )
    return [one for one in found if not np.isclose(one.factor, 1)]


def _own(factor: float) -> str:
    change = f"multiply by {factor:.4g}" if factor > 1 else f"divide by {1 / factor:.4g}"
    return f"a data set's frames hold metres: {change} in its class"


def _floats(scale: float) -> str:
    return FLOATS.get(scale, f"{scale:g} units per metre")


def _outside(known: Depths, low: float, high: float) -> tuple[float, float]:
    """The shares of depths at or above the range, and at or below it."""
    return float(np.mean(known >= high)), float(np.mean(known <= low))


def _fits(known: Depths, low: float, high: float) -> bool:
    """True if depths, metres, have a usual median and reach for this range."""
    above, below = _outside(known, low, high)
    smallest, largest = MEDIANS[high >= STREET]
    median, reach = float(np.median(known)), float(np.quantile(known, 0.995))
    return above + below <= 1 - FITS and smallest <= median <= largest and reach >= REACH * high
