"""Ranges, which a study file may have in place of values."""

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
    """Real numbers from `low` to `high`, both included. log: searched on a log scale. step: only multiples of a step
    above `low`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def ends(self) -> tuple[float, ...]:
        return (self.low, self.high)


@dataclass(frozen=True)
class IntRange:
    """Integers from `low` to `high`, both included. log, step: see FloatRange."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def ends(self) -> tuple[int, ...]:
        return (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """A finite set of values. Lists and mappings are allowed; the database stores their JSON text."""

    values: tuple[Any, ...]

    def ends(self) -> tuple[Any, ...]:
        return self.values

    def labels(self) -> tuple[Any, ...]:
        """The form of each value in the database: the value itself, or its JSON text."""
        return tuple(label(value) for value in self.values)

    def index(self, value: Any) -> int | None:
        """The index of the choice that equals a value, None without one."""
        return next((position for position, choice in enumerate(self.values) if same(choice, value)), None)


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


def same(value: Any, other: Any) -> bool:
    """True if two values of a study file are equal: `10` equals `10.0`, `1` does not equal `true`. Lists and mappings
    are compared element by element."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, (int, float)) and isinstance(other, (int, float)):
        return value == other
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(map(same, value, other))
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return value.keys() == other.keys() and all(same(value[key], other[key]) for key in value)
    return type(value) is type(other) and bool(value == other)


def as_written(range_: Range, value: Any) -> Any:
    """A value in its range's form: the equal choice, or an int for a range of integers. Other values are returned
    unchanged."""
    if isinstance(range_, Choices):
        index = range_.index(value)
        return value if index is None else range_.values[index]
    whole = isinstance(range_, IntRange) and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def is_range(value: object) -> bool:
    """True for a mapping with a range's keys, unless it is a plug-in's section with options of the same names."""
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
    """Check one range and return it. Numeric ranges are returned as ranges of real numbers; `as_whole` converts the
    range of an integer field."""
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
    parsed = FloatRange(value["low"], value["high"], value.get("log", False), value.get("step"))
    _check_order(yaml_source, path, parsed)
    return parsed


def _check_order(yaml_source: YamlSource, path: Keys, range_: FloatRange) -> None:
    low, high, log, step = range_.low, range_.high, range_.log, range_.step
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


def as_whole(yaml_source: YamlSource, path: Keys, range_: FloatRange) -> IntRange:
    """A copy of a range for a field that takes integers."""
    numbers = {"low": range_.low, "high": range_.high, "step": 1 if range_.step is None else range_.step}
    for key, number in numbers.items():
        if number != int(number):
            raise yaml_source.error((*path, key), f"expected a whole number, found {number}")
    if range_.log and range_.low < 1:
        raise yaml_source.error(path, f"a log range of whole numbers must start at 1 or above, found low {range_.low}")
    return IntRange(int(range_.low), int(range_.high), range_.log, int(numbers["step"]))


def as_real(range_: FloatRange) -> FloatRange:
    return FloatRange(
        float(range_.low), float(range_.high), range_.log, None if range_.step is None else float(range_.step)
    )


def _choices(yaml_source: YamlSource, path: Keys, value: dict[str, Any]) -> Choices:
    for key in value:
        if key != "choices":
            raise yaml_source.error((*path, key), "unknown key; choices stand alone: {choices: [a, b]}")
    values = value["choices"]
    if not isinstance(values, list) or len(values) < 2:
        raise yaml_source.error(path, f"choices must be a list of two values or more, found {describe(values)}")
    for position, item in enumerate(values):
        for other in values[:position]:
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
