"""Hints in error messages: the study file's form for a value that is written as in another tool."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

LOW: Final = ("low", "min", "lower", "lo", "from", "start", "minimum", "lower_bound", "min_value", "minval")
HIGH: Final = ("high", "max", "upper", "hi", "to", "stop", "end", "maximum", "upper_bound", "max_value", "maxval")
KIND: Final = ("distribution", "type", "_type", "dist", "scale", "prior", "sampling")
LOG: Final = ("log", "log_scale", "logscale")
ENDS: Final = ("range", "interval", "bounds", "limits", "_value")  # keys whose value is a list of two ends
EXPONENTS: Final = ("log_uniform", "q_log_uniform")  # distributions of W&B whose ends are exponents of e
LISTED: Final = ("values", "_value", "options", "categories", "choice", "choices", "grid_search", "categorical")
WORDS: Final = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
WORDS_OF_OTHERS: Final = re.compile(
    r"(?:\w+\.)*(suggest_\w+|q?(?:log)?(?:uniform|normal|randint)\w*|log_uniform\w*|choice|categorical|grid_search)\b"
)
NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
LONGEST: Final = 100  # characters of a name
GENERAL: Final = "a range is written {low: 0.1, high: 10, log: true}, a choice {choices: [a, b]}"
# Unknown key -> its replacement, with {} for its value.
OTHER_KEYS: Final[Mapping[tuple[str, ...], str]] = {
    ("train", "patience"): "early_stopping: {{patience: {}}}",
    ("train", "learning_rate"): "lr: {}",
    ("search", "n_trials"): "trials: {}",
    ("search", "num_samples"): "trials: {}",
}
IN_LISTS: Final = ("tuple", "list", "too_long", "too_short")  # beginnings of pydantic's error types for lists
MAPPINGS: Final = ("model_type", "model_attributes_type", "dict_type")


def nearest(value: Any, kind: str, *, ranges: bool, path: Sequence[str] = ()) -> str:
    """`; write ...` if a value has a known equivalent in a study file; else empty. kind: pydantic's error type. ranges:
    whether the field may hold a range. path: the field's path."""
    hint = None
    if kind in MAPPINGS:
        hint = _section(value, path)
    elif isinstance(value, str) and kind.startswith(IN_LISTS):
        size = re.fullmatch(r"\s*[(\[]?\s*(\d+)\s*[xX×,; ]\s*(\d+)\s*[)\]]?\s*", value)
        hint = size and f"write [{size[1]}, {size[2]}]"
    elif isinstance(value, str):
        hint = _text(value, kind, ranges=ranges)
    elif kind.startswith("int") and isinstance(value, float) and value.is_integer():
        hint = f"write {int(value)}"
    elif ranges and not kind.startswith(IN_LISTS):
        hint = _list(value) if isinstance(value, list) else _mapping(value, path) if isinstance(value, dict) else None
    return "" if hint is None else f"; {hint}"


def elsewhere(path: Sequence[str], value: Any) -> str:
    """`; write ...` for an unknown key that has another name or place in a study file; else empty. value: the key's
    value."""
    form = OTHER_KEYS.get(tuple(path))
    if form is None or isinstance(value, (dict, list)):
        return ""
    return f"; write {form.format(_plain(value))}"


def database_url(text: str) -> str:
    """`; write sqlite:///list.db` for the name of a file; else empty. Other text may hold a password."""
    file = re.fullmatch(r"[\w./~-]+\.(?:db|sqlite3?)", text)
    return f"; write sqlite:///{text}" if file else ""


def name_like(value: str, allowed: str, first: str) -> str:
    """`; write my_study` for `my study`. allowed: the characters of a name. first: the allowed first characters."""
    close = re.sub(rf"[^{allowed}]+", "_", value.strip())
    close = re.sub(rf"^[^{first}]+", "", close)[:LONGEST]
    return f"; write {close}" if close and close != value else ""


def _section(value: Any, path: Sequence[str]) -> str | None:
    if tuple(path) == ("loss",) and isinstance(value, list):
        return "each term is a key: loss: {integer: {weight: 1.0}}"
    if len(path) == 2 and path[0] == "loss" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"write {{weight: {_plain(value)}}}, or a range as its weight"
    if len(path) == 2 and path[0] == "loss" and isinstance(value, list):
        return "write its range as the weight: {weight: {low: 0.1, high: 10, log: true}}"
    if tuple(path) == ("search", "objectives"):
        names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        from weightsearch.config.metrics import direction_of

        directions = {str(name): way for name in names if (way := direction_of(str(name))) is not None}
        return f"write {{{', '.join(f'{name}: {way}' for name, way in directions.items())}}}" if directions else None
    if tuple(path) == ("train", "early_stopping") and isinstance(value, int) and not isinstance(value, bool):
        return f"write {{patience: {value}}}"
    if tuple(path) == ("ray",) and isinstance(value, str):
        return f"write {{address: {value}}}"
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
        if re.fullmatch(r"[-+]?\d{1,3}(?:[_ ']\d{3})+(?:\.\d*)?", word):
            return f"write {re.sub(r'[^-+.0-9]', '', word)}"
    if (way := {"min": "minimize", "max": "maximize"}.get(word[:3].lower())) and kind == "literal_error":
        return f"write {way}"
    return _words_of_others(word) if ranges else None


def _words_of_others(text: str) -> str | None:
    """The study file's form of `tune.loguniform(1e-4, 1e-1)`, `suggest_float('w', 0.1, 10, log=True)` or `0.1 to
    10`."""
    ends = re.fullmatch(rf"({NUMBER})\s*(?:\.\.+|to|:|-|~)\s*({NUMBER})", text)
    if ends is not None:
        return _range(ends[1], ends[2])
    match = WORDS_OF_OTHERS.match(text)
    if match is None:
        return None
    name, arguments = match[1], text[match.end() :]
    if "normal" in name:  # its numbers are mean and deviation, not the ends of a range
        return GENERAL
    if "choice" in name or "categorical" in name or name == "grid_search":
        listed = re.search(r"\[[^\]]*\]", arguments)
        return f"write {{choices: {listed[0]}}}" if listed else GENERAL
    arguments = re.sub(r"'[^']*'|\"[^\"]*\"", "", arguments)  # a parameter's name may hold numbers
    numbers = re.findall(rf"(?<![\w.]){NUMBER}(?![\w.])", arguments)
    if len(numbers) < 2:
        return GENERAL
    low, high = numbers[:2]
    if name in ("randint", "lograndint"):  # Ray excludes the upper end
        high = str(int(float(high)) - 1)
    log = "log" in name or bool(re.search(r"log\s*=\s*True", arguments))
    if text.startswith("hp.") and log:  # of Hyperopt: the ends are exponents of e
        low, high = (f"{math.exp(float(end)):.4g}" for end in (low, high))
    stepped = name.startswith("q") or "discrete" in name or "step" in arguments
    return _range(low, high, log=log, step=float(numbers[2]) if stepped and len(numbers) > 2 else None)


def _list(values: list[Any]) -> str | None:
    if len(values) < 2:
        return f"write the value itself: {_plain(values[0])}" if values else None
    text = f"[{', '.join(map(_plain, values))}]"
    if len(values) == 2 and all(_is_number(number) for number in values) and values[0] < values[1]:
        low, high = map(_plain, values)
        return f"for a range write {{low: {low}, high: {high}}}, for these two values {{choices: {text}}}"
    return f"for a choice write {{choices: {text}}}"


def _mapping(value: Mapping[str, Any], path: Sequence[str] = ()) -> str | None:
    keys = {str(key).lower(): item for key, item in value.items()}
    low, high = (next((keys[name] for name in names if name in keys), None) for names in (LOW, HIGH))
    kind = str(next((keys[name] for name in KIND if name in keys), ""))
    log = "log" in kind or any(keys.get(name) is True for name in LOG)
    if low is not None and high is not None and _is_number(low) and _is_number(high):
        if kind in EXPONENTS:
            return _range(f"{math.exp(low):.4g}", f"{math.exp(high):.4g}", log=True)
        step = next((keys[name] for name in ("step", "q") if name in keys), None)
        if path and path[0] == "loss" and path[-1] == "weight" and min(low, high) > 0:
            log = log or (step is None and not kind and not any(name in keys for name in LOG))
        return _range(_plain(low), _plain(high), log=log, step=step)
    for name, item in keys.items():
        numbers = isinstance(item, list) and len(item) >= 2 and all(_is_number(number) for number in item[:2])
        named = name in ENDS and kind not in ("choice", "randint")
        if numbers and "normal" not in name + kind and (named or (WORDS_OF_OTHERS.match(name) and name not in LISTED)):
            return _range(_plain(item[0]), _plain(item[1]), log=log or "log" in name)
    listed = next((keys[name] for name in LISTED if isinstance(keys.get(name), list)), None)
    if listed and "normal" not in kind and kind != "randint":
        return f"write {{choices: [{', '.join(map(_plain, listed))}]}}"
    if set(keys) == {"value"}:
        return f"write the value itself: {_plain(keys['value'])}"
    return GENERAL


def _range(low: str, high: str, *, log: bool = False, step: Any = None) -> str:
    """The study file's form of a range between two ends in any order."""
    low, high = sorted((low, high), key=float)
    if float(low) == float(high):
        return f"write the value itself: {low}"
    if log and float(low) <= 0:
        return f"a log range must lie above 0: {GENERAL}"
    more = (", log: true" if log else "") + ("" if step is None or log else f", step: {_plain(step)}")
    return f"write {{low: {low}, high: {high}{more}}}"


def _plain(value: Any) -> str:
    """A value as a study file writes it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
