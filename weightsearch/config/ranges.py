"""Ranges: what may stand in a study file wherever a value may."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from weightsearch.config.hints import HIGH, KIND, LOW, nearest
from weightsearch.config.yaml_source import Keys, YamlSource, describe
from weightsearch.plugins import known_words

RANGE_KEYS: Final = ("low", "high", "log", "step")
MAX_STEPS: Final = 1_000_000


@dataclass(frozen=True)
class FloatRange:
    """Real numbers from `low` to `high`, both included; evenly on a log scale, or in steps, if asked."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def ends(self) -> tuple[float, ...]:
        return (self.low, self.high)


@dataclass(frozen=True)
class IntRange:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def ends(self) -> tuple[int, ...]:
        return (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """A finite set of values. Lists and mappings are allowed: in the database they are their JSON text."""

    values: tuple[Any, ...]

    def ends(self) -> tuple[Any, ...]:
        return self.values

    def labels(self) -> tuple[Any, ...]:
        """The form of each value in the database: the value itself, or its JSON text."""
        return tuple(label(value) for value in self.values)

    def index(self, value: Any) -> int | None:
        """The index of the choice that equals a value, None without one."""
        return next((place for place, choice in enumerate(self.values) if same(choice, value)), None)


Range = FloatRange | IntRange | Choices


def label(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value


def text_of(value: Any) -> str:
    """A value as a study file writes it: null, true, [32, 48]."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(text_of, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {text_of(item)}" for key, item in value.items()) + "}"
    return str(value)


def same(one: Any, other: Any) -> bool:
    """True if two values of a study file are equal: `10` equals `10.0`, `1` does not equal `true`. Lists and mappings
    are compared part by part."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


def as_written(found: Range, value: Any) -> Any:
    """A value in its range's form: the equal choice, or an int in a range of whole numbers. Other values are returned
    unchanged."""
    if isinstance(found, Choices):
        place = found.index(value)
        return value if place is None else found.values[place]
    whole = isinstance(found, IntRange) and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def is_range(value: object) -> bool:
    """A mapping with a range's keys, unless it is a section of a plug-in whose options happen to have such names."""
    if not isinstance(value, dict) or any(key in value for key in ("name", "term", "weight")):
        return False
    return any(key in value for key in ("low", "high", "choices"))


def find_ranges(tree: Mapping[str, Any], path: Keys = ()) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """All ranges below a tree, as they are written, with their paths."""
    for key, value in tree.items():
        if is_range(value):
            yield (*path, key), value
        elif isinstance(value, dict):
            yield from find_ranges(value, (*path, key))


def parse_range(yaml_source: YamlSource, path: Keys, value: dict[str, Any]) -> FloatRange | Choices:
    """Check one range and return it. A numeric range is real here; the field it stands in makes it whole."""
    if "choices" in value:
        return _choices(yaml_source, path, value)
    for key in value:
        if key not in RANGE_KEYS:
            hint = nearest(value, "float_type", ranges=True, path=path) if key.lower() in (*LOW, *HIGH, *KIND) else ""
            raise yaml_source.error((*path, key), f"unknown key in a range{known_words(key, RANGE_KEYS)}{hint}")
    for key in ("low", "high"):
        if key not in value:
            raise yaml_source.error(path, f"the range has no {key!r}; write {{low: ..., high: ...}}")
        if not _is_number(value[key]):
            hint = nearest(value[key], "float_type", ranges=False)
            raise yaml_source.error((*path, key), f"expected a finite number, found {describe(value[key])}{hint}")
    found = FloatRange(value["low"], value["high"], value.get("log", False), value.get("step"))
    _check_order(yaml_source, path, found)
    return found


def _check_order(yaml_source: YamlSource, path: Keys, found: FloatRange) -> None:
    low, high, log, step = found.low, found.high, found.log, found.step
    if not isinstance(log, bool):
        hint = nearest(log, "bool_type", ranges=False)
        raise yaml_source.error((*path, "log"), f"expected true or false, found {describe(log)}{hint}")
    if low > high:
        raise yaml_source.error(path, f"low {low} is above high {high}")
    if low == high:
        raise yaml_source.error(path, f"low and high are both {low}; write the value itself")
    if log and low <= 0:
        raise yaml_source.error(path, f"a log range must lie above 0, found low {low}")
    if step is not None and (not _is_number(step) or step <= 0):
        raise yaml_source.error((*path, "step"), f"expected a number above 0, found {describe(step)}")
    if step is not None and log:
        raise yaml_source.error(path, "a log range takes no step; use choices")
    if step is not None and step > high - low:
        raise yaml_source.error((*path, "step"), f"step {step} is wider than the range {low} to {high}")
    if step is not None:
        steps = (Decimal(str(high)) - Decimal(str(low))) / Decimal(str(step))
        if steps > MAX_STEPS:
            raise yaml_source.error((*path, "step"), f"more than {MAX_STEPS} steps of {step} from {low} to {high}")
        if steps != int(steps):
            raise yaml_source.error((*path, "step"), f"steps of {step} from {low} do not reach high {high}")


def as_whole(yaml_source: YamlSource, path: Keys, found: FloatRange) -> IntRange:
    """A copy of a range for a field that takes integers."""
    numbers = {"low": found.low, "high": found.high, "step": 1 if found.step is None else found.step}
    for key, number in numbers.items():
        if number != int(number):
            raise yaml_source.error((*path, key), f"expected a whole number, found {number}")
    if found.log and found.low < 1:
        raise yaml_source.error(path, f"a log range of whole numbers must start at 1 or above, found low {found.low}")
    return IntRange(int(found.low), int(found.high), found.log, int(numbers["step"]))


def as_real(found: FloatRange) -> FloatRange:
    return FloatRange(float(found.low), float(found.high), found.log, None if found.step is None else float(found.step))


def _choices(yaml_source: YamlSource, path: Keys, value: dict[str, Any]) -> Choices:
    for key in value:
        if key != "choices":
            raise yaml_source.error((*path, key), "unknown key; choices stand alone: {choices: [a, b]}")
    values = value["choices"]
    if not isinstance(values, list) or len(values) < 2:
        raise yaml_source.error(path, f"choices must be a list of two values or more, found {describe(values)}")
    for place, item in enumerate(values):
        for other in values[:place]:
            if same(item, other):
                raise yaml_source.error(path, f"the choice {describe(item)} is written twice")
            if item == other:  # true equals 1 in the database
                text = f"the choices {describe(other)} and {describe(item)} cannot be told apart; quote one of them"
                raise yaml_source.error(path, text)
    return Choices(tuple(values))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_weight(path: str) -> bool:
    """True if a dotted path leads to the weight of a loss term."""
    section, *_, last = path.split(".")
    return section == "loss" and last == "weight"
