"""Validation: plain values -> typed sections, with path and line of every mistake."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from weightsearch.config.hints import elsewhere, name_like, nearest
from weightsearch.config.names import RULES
from weightsearch.config.schema import RANGE_SECTIONS, Data, Term
from weightsearch.config.yaml_source import Keys, YamlSource, describe
from weightsearch.errors import ConfigError, OptionError, Problem
from weightsearch.plugins import about_function, arguments, known_words, options_model, plain_options, resolve

M = TypeVar("M", bound=BaseModel)
# The keys of a plug-in's section that are not options of the plug-in.
OWN_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "data": tuple(Data.model_fields),
    "loss": tuple(Term.model_fields),
    "model": ("name",),
    "search": ("name",),
}


def validate(yaml_source: YamlSource, model: type[M], tree: Any, path: Keys = ()) -> M:
    """Check a tree against a section's model. Raises ConfigError with one problem for each mistaken value."""
    if not isinstance(tree, dict):
        hint = nearest(tree, "dict_type", ranges=False, path=path)
        raise yaml_source.error(path, f"expected a mapping, found {describe(tree)}{hint}")
    try:
        return model.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        raise ConfigError(_problems(yaml_source, model, tree, path, error)) from None


def check_plugin(
    yaml_source: YamlSource, kind: str, name: str, options: Mapping[str, Any], context: Mapping[str, Any], path: Keys
) -> dict[str, Any]:
    """The checked keyword arguments of a plug-in. Raises ConfigError at the name or option at fault."""
    try:
        target = resolve(kind, name)
        model = options_model(target)
    except OptionError as error:
        at = next((at for key in ("term", "name") if (at := (*path, key)) in yaml_source.places), path)
        raise yaml_source.error(at, error.message) from None
    try:
        return arguments(validate(yaml_source, model, plain_options(target, options, context), path))
    except ConfigError as error:
        if kind == "loss":
            hint = about_function(target)
            raise ConfigError(tuple(_hinted(problem, "is missing", hint) for problem in error.problems)) from None
        if kind in ("data", "model"):
            raise
        whose = f"unknown key of the {kind} {name}"
        raise ConfigError(
            tuple(
                replace(problem, message=problem.message.replace("unknown key", whose, 1)) for problem in error.problems
            )
        ) from None


def _hinted(problem: Problem, words: str, hint: str) -> Problem:
    return replace(problem, message=f"{problem.message}{hint}") if words in problem.message else problem


def _problems(
    yaml_source: YamlSource, model: type[BaseModel], tree: Any, path: Keys, error: ValidationError
) -> tuple[Problem, ...]:
    """A problem for each mistake. A misspelt key is not also reported as missing; the missing keys of a section are one
    problem; a line of the file has at most one problem."""
    problems: dict[Keys, Problem] = {}
    missing: dict[Keys, list[str]] = {}
    for detail in error.errors(include_url=False):
        absent = detail["type"] == "missing"
        keys = _written(tree, detail["loc"], absent=absent)
        if absent:
            section = (*path, *keys[:-1])
            if (written := _misspelt(model, tree, keys)) is None:
                missing.setdefault(section, []).append(keys[-1])
            else:
                message = f"unknown key; did you mean {keys[-1]!r}?"
                problems[(*section, written)] = yaml_source.problem((*section, written), message)
            continue
        keys, message = _named(model, keys, _message(model, keys, detail, path))
        full = (*path, *keys)
        problem = yaml_source.problem(full, message)
        # Alternatives of a value, such as a number or 'auto', give an error each.
        if full in problems and detail["type"] != "extra_forbidden":
            problem = Problem(
                problem.path, f"{problems[full].message.split(', found')[0]}; or {problem.message}", problem.place
            )
        problems[full] = problem
    for section, names in missing.items():
        if not any(full[:-1] == section and "unknown key" in problem.message for full, problem in problems.items()):
            where = (*section, names[0]) if len(names) == 1 else section
            message = "is missing" if len(names) == 1 else f"{', '.join(names)} are missing"
            problems[(*section, "is missing")] = yaml_source.problem(where, message)
    by_place: dict[str, Problem] = {}
    for problem in problems.values():
        by_place.setdefault(problem.place, problem)
    return tuple(by_place.values())


def _written(tree: Any, loc: Iterable[str | int], *, absent: bool) -> Keys:
    """The part of pydantic's location that is a path in the file, without the alternatives of a union. absent: the last
    part is a missing key."""
    keys: list[str] = []
    branch = tree
    parts = list(loc)
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if isinstance(branch, dict) and (part in branch or (last and absent)):
            keys.append(str(part))
            branch = branch.get(part)
        elif isinstance(branch, list) and isinstance(part, int):
            keys.append(str(part))
            branch = branch[part] if part < len(branch) else None
    return tuple(keys)


def _named(model: type[BaseModel], keys: Keys, message: str) -> tuple[Keys, str]:
    """Split the message of a check of a whole section into the path at its beginning and the rest; without a path,
    return the section's own path and the message."""
    name, colon, rest = message.partition(": ")
    deeper = tuple(name.split("."))
    if colon and deeper[0] in section_keys(model, keys):
        return (*keys, *deeper), rest
    return keys, message


def _misspelt(model: type[BaseModel], tree: Any, keys: Keys) -> str | None:
    """An unknown key that resembles a missing one, such as `wieght` for `weight`."""
    for key in keys[:-1]:
        tree = tree[key] if isinstance(tree, dict) else {}
    others = [key for key in tree if key not in section_keys(model, keys[:-1])] if isinstance(tree, dict) else []
    return next(iter(difflib.get_close_matches(keys[-1], others, n=1, cutoff=0.7)), None)


def _message(model: type[BaseModel], keys: Keys, detail: Any, path: Keys) -> str:
    kind = detail["type"]
    whole = (*path, *keys)
    if kind == "extra_forbidden":
        own = OWN_KEYS.get(path[0], ()) if path and len(keys) == 1 else ()
        valid_keys = [*section_keys(model, keys[:-1]), *own]
        if hint := elsewhere(whole, detail["input"]):
            return f"unknown key{hint}"
        return f"unknown key{known_words(keys[-1], valid_keys)}" if valid_keys else "unknown key; there are no options"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "string_pattern_mismatch":
        pattern, given = detail["ctx"]["pattern"], detail["input"]
        rule, allowed, first = RULES.get(pattern, (f"text that the pattern {pattern} fits", "", ""))
        return f"expected {rule}, found {describe(given)}{name_like(given, allowed, first) if allowed else ''}"
    text = re.sub(r"^Input should be (a valid |an |a )?", "", detail["msg"])
    text = re.sub(r"^(Tuple|List|Dictionary|Data) should ", "should ", text)
    text = {"object": "mapping", "array": "list"}.get(text, text)
    expected = text if text.startswith("should") else f"expected {text}"
    hint = nearest(detail["input"], kind, ranges=bool(whole) and whole[0] in RANGE_SECTIONS, path=whole)
    return f"{expected}, found {describe(detail['input'])}{hint}"


def section_keys(model: type[BaseModel], keys: Keys) -> list[str]:
    """The keys of the section that a path leads to."""
    current: Any = model
    for key in keys:
        current = _field(current, key)
    current = _section_of(current)
    return list(current.model_fields) if current is not None else []


def _field(kind: Any, key: str) -> Any:
    section = _section_of(kind)
    if section is not None and key in section.model_fields:
        return section.model_fields[key].annotation
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    return None


def _section_of(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    if get_origin(kind) in (Union, types.UnionType):
        for part in get_args(kind):
            if (section := _section_of(part)) is not None:
                return section
    return None
