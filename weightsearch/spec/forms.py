"""Forms that people write, from other tools or habits -> the nearest form of a study file, to end an error with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

LOW: Final = ("low", "min", "lower", "lo", "from", "start", "minimum", "lower_bound", "min_value")
HIGH: Final = ("high", "max", "upper", "hi", "to", "stop", "end", "maximum", "upper_bound", "max_value")
KIND: Final = ("distribution", "type", "dist", "scale", "prior")
LISTED: Final = ("values", "options", "categories", "choice", "choices", "grid_search", "categorical")
WORDS: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
WORDS_OF_OTHERS: Final = re.compile(
    r"(?:\w+\.)*(suggest_\w+|q?(?:log)?(?:uniform|normal|randint)\w*|log_uniform\w*|choice|categorical|grid_search)\b"
)
NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
GENERAL: Final = "a range is written {low: 0.1, high: 10, log: true}, a choice {choices: [a, b]}"
IN_LISTS: Final = ("tuple", "list", "too_long", "too_short")  # pydantic's words where a list is wanted
MAPPINGS: Final = ("model_type", "model_attributes_type", "dict_type")


def nearest(value: Any, kind: str, *, ranges: bool, path: Sequence[str] = ()) -> str:
    """`; write ...` where a value of a field looks like something that can be written otherwise; else nothing. kind:
    pydantic's word for the mistake. ranges: a range may stand there. path: of the field."""
    found = None
    if kind in MAPPINGS:
        found = _section(value, path)
    elif isinstance(value, str):
        found = _text(value, kind, ranges=ranges)
    elif ranges and not kind.startswith(IN_LISTS):
        found = _list(value) if isinstance(value, list) else _mapping(value) if isinstance(value, dict) else None
    return "" if found is None else f"; {found}"


def name_like(value: str, allowed: str, first: str) -> str:
    """`; write my_study` for `my study`. allowed, first: the signs that a name may have, and begin with."""
    close = re.sub(rf"[^{allowed}]+", "_", value.strip())
    close = re.sub(rf"^[^{first}]+", "", close)
    return f"; write {close}" if close and close != value else ""


def _section(value: Any, path: Sequence[str]) -> str | None:
    if tuple(path) == ("loss",) and isinstance(value, list):
        return "each term is a key: loss: {integer: {weight: 1.0}}"
    if len(path) == 2 and path[0] == "loss" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"write {{weight: {value:g}}}, or a range as its weight"
    return None


def _text(text: str, kind: str, *, ranges: bool) -> str | None:
    word = text.strip()
    if kind.startswith("bool"):
        return f"write {WORDS[word.lower()]}" if word.lower() in WORDS else None
    if kind.startswith(("int", "float")):
        if re.fullmatch(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?", word):
            thousands = re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", word)
            either = f" or {word.replace(',', '')}" if thousands else ""
            return f"write {word.replace(',', '.')}{either}: numbers have a point"
        if re.fullmatch(NUMBER, word):
            return f"write {word} without quotes"
    return _words_of_others(word) if ranges else None


def _words_of_others(text: str) -> str | None:
    """`tune.loguniform(1e-4, 1e-1)`, `suggest_float('w', 0.1, 10, log=True)`, `0.1 to 10`."""
    ends = re.fullmatch(rf"({NUMBER})\s*(?:\.\.+|to|:|-|~)\s*({NUMBER})", text)
    if ends is not None:
        return f"write {{low: {ends[1]}, high: {ends[2]}}}"
    found = WORDS_OF_OTHERS.match(text)
    if found is None:
        return None
    name, arguments = found[1], text[found.end() :]
    if "choice" in name or "categorical" in name or name == "grid_search":
        listed = re.search(r"\[[^\]]*\]", arguments)
        return f"write {{choices: {listed[0]}}}" if listed else GENERAL
    numbers = re.findall(rf"(?<![\w.]){NUMBER}(?![\w.])", arguments)
    if len(numbers) < 2:
        return GENERAL
    low, high = numbers[:2]
    if name.endswith("randint"):  # Ray's leave the upper end out
        high = str(int(float(high)) - 1)
    return _range(low, high, log="log" in name or bool(re.search(r"log\s*=\s*True", arguments)))


def _list(values: list[Any]) -> str | None:
    if not values:
        return None
    text = f"[{', '.join(map(_plain, values))}]"
    if len(values) == 2 and all(_is_number(one) for one in values) and values[0] < values[1]:
        low, high = map(_plain, values)
        return f"for a range write {{low: {low}, high: {high}}}, for these two values {{choices: {text}}}"
    return f"for a choice write {{choices: {text}}}"


def _mapping(value: Mapping[str, Any]) -> str | None:
    keys = {str(key).lower(): item for key, item in value.items()}
    low, high = (next((keys[name] for name in names if name in keys), None) for names in (LOW, HIGH))
    kind = str(next((keys[name] for name in KIND if name in keys), ""))
    if low is not None and high is not None and _is_number(low) and _is_number(high):
        if kind == "log_uniform":  # of W&B: the ends are exponents of e
            return _range(f"{math.exp(low):.4g}", f"{math.exp(high):.4g}", log=True)
        step = next((keys[name] for name in ("step", "q") if name in keys), None)
        return _range(_plain(low), _plain(high), log="log" in kind or keys.get("log") is True, step=step)
    listed = next((keys[name] for name in LISTED if isinstance(keys.get(name), list)), None)
    if listed:
        return f"write {{choices: [{', '.join(map(_plain, listed))}]}}"
    if set(keys) == {"value"}:
        return f"write the value itself: {_plain(keys['value'])}"
    for name, item in keys.items():
        numbers = isinstance(item, list) and len(item) >= 2 and all(_is_number(one) for one in item[:2])
        if numbers and (WORDS_OF_OTHERS.match(name) or name in ("range", "interval")):
            return _range(_plain(item[0]), _plain(item[1]), log="log" in name)
    return GENERAL


def _range(low: str, high: str, *, log: bool = False, step: Any = None) -> str:
    more = (", log: true" if log else "") + ("" if step is None or log else f", step: {_plain(step)}")
    return f"write {{low: {low}, high: {high}{more}}}"


def _plain(value: Any) -> str:
    """As a study file writes it; other tools' long numbers short."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
