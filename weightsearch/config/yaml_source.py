"""YAML text -> a plain tree, with the line of every value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from weightsearch.config.hints import nearest
from weightsearch.config.paths import Unsettable, put
from weightsearch.config.yaml_faults import QUOTE, explain
from weightsearch.errors import ConfigError, DataError, ModelError, Problem, hide

Keys = tuple[str, ...]

MAX_BYTES: Final = 1_000_000
MAX_NODES: Final = 100_000
MAX_DEPTH: Final = 50
OVERRIDE: Final = "--set "  # beginning of the place of an override
LONGEST_SET: Final = 80  # characters of an override that messages repeat
TAGS: Final = ("map", "seq", "str", "int", "float", "bool", "null")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core scalars: `1e-3` is a number; `yes`, `on` and `2024-01-01` are text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+0123456789."),
    ),
    ("merge", r"<<$", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _integer(_: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = node.value.lower()
    number = int(text, 8 if "0o" in text else 16 if "0x" in text else 10)
    if abs(number) >= 2**63:
        raise ValueError("beyond 64 bits")
    return number


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


@dataclass
class YamlSource:
    """The tree of a study file (mappings, lists, scalars) and where each of its values was written."""

    tree: dict[str, Any] = field(repr=False)  # `storage` may hold a password
    source: str
    places: dict[Keys, str] = field(default_factory=dict, repr=False)

    def place(self, keys: Iterable[object]) -> str:
        """`file:line` of a value; if the file does not contain it, of the innermost section around it."""
        path = tuple(str(key) for key in keys)
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, f"{self.source}:1")

    @classmethod
    def of_mapping(cls, content: dict[str, Any]) -> YamlSource:
        """The source of a study that is given as a mapping, which has no lines."""
        name = "the given mapping"
        return cls(content, name, dict.fromkeys(_paths(content), name))

    def baseline_error(self, name: str, below: Iterable[object], message: str) -> ConfigError:
        """An error about a baseline. For an inherited baseline it stands at the file's `extends`. below: keys below the
        baseline's name."""
        keys = ("search", "baselines", name, *map(str, below))
        if not self.inherited(keys[:3]):
            return self.error(keys, message)
        removal = f"search: {{baselines: {{{quoted(name)}: null}}}}"
        text = f"{message}; the baseline is inherited: to leave it out, write {removal}"
        return ConfigError((Problem(".".join(keys), text, self.place(("extends",))),))

    def inherited(self, keys: Keys) -> bool:
        """Return True for a value of a file that this file extends."""
        place = self.place(keys)
        file, _, line = place.rpartition(":")
        return line.isdigit() and file != self.source and not place.startswith(OVERRIDE)

    def problem(self, keys: Iterable[object], message: str) -> Problem:
        path = tuple(str(key) for key in keys)
        return Problem(".".join(path), message, self.place(path))

    def error(self, keys: Iterable[object], message: str) -> ConfigError:
        return ConfigError((self.problem(keys, message),))


@contextmanager
def placed(yaml_source: YamlSource) -> Iterator[None]:
    """Add `(file:line)` to errors of a network or a data set that begin with a path of the file."""
    try:
        yield
    except (DataError, ModelError) as error:
        keys = str(error).partition(": ")[0].split(".")
        if keys[0] not in yaml_source.tree or " " in keys[0]:
            raise
        raise type(error)(f"{error} ({yaml_source.place(keys)})") from error


def read_yaml(path: Path) -> YamlSource:
    """Read one file. Raises ConfigError with file and line."""
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise ConfigError((Problem("", "is a folder, not a study file", str(path)),)) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError((Problem("", f"cannot read the study file: {reason}", str(path)),)) from None
    except ValueError as error:  # a NUL byte in the name
        raise ConfigError((Problem("", f"cannot read the study file: {error}", repr(str(path))),)) from None
    return parse_yaml(data, str(path))


def apply_overrides(yaml_source: YamlSource, overrides: Iterable[str]) -> None:
    """Apply `path=value` overrides, in place. Raises ConfigError."""
    for override in overrides:
        _apply(yaml_source, override)


def parse_yaml(data: bytes, source: str) -> YamlSource:
    """Parse the bytes of a study file; `source` names it in errors."""
    if len(data) > MAX_BYTES:
        raise ConfigError((Problem("", f"{len(data)} bytes, at most {MAX_BYTES} are allowed", f"{source}:1"),))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError((Problem("", f"byte {error.start} is not UTF-8", f"{source}:{line}"),)) from None
    tree, places = _load(text, source)
    if tree is None:
        raise ConfigError((Problem("", "the file is empty; a study needs name, data, model and loss", f"{source}:1"),))
    if not isinstance(tree, dict):
        raise ConfigError((Problem("", f"found {describe(tree)}; a study is a mapping of sections", f"{source}:1"),))
    return YamlSource(tree, source, places)


def _paths(value: Any, path: Keys = ()) -> Iterator[Keys]:
    """The path of a value and of every value in it."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield from _paths(item, (*path, str(key)))


def quoted(key: str) -> str:
    """A key as a study file writes it: in quotes unless it is a plain word."""
    return key if key.isidentifier() else json.dumps(key)


def describe(value: object) -> str:
    """A value as an error message shows it: short, on one line, with mappings and lists named."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"a mapping of {_listed(value)}" if value else "an empty mapping"
    text = hide(" ".join(repr(value).split()))
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(value: dict[str, Any]) -> str:
    names = ", ".join(list(value)[:4])
    return names + (", ..." if len(value) > 4 else "")


def _load(text: str, source: str) -> tuple[Any, dict[Keys, str]]:
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        places: dict[Keys, str] = {}
        walker = _Walker(loader, source, places)
        return (None if node is None else walker.walk(node, (), 0)), places
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        what = explain(error.problem or error.context or "malformed")
        raise ConfigError((Problem("", f"not valid YAML: {what}", f"{source}:{line}"),)) from None
    except yaml.YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        what = explain(str(getattr(error, "reason", error)))
        raise ConfigError((Problem("", f"not valid YAML: {what}", f"{source}:{line}"),)) from None
    except RecursionError:
        raise ConfigError((Problem("", f"nested deeper than {MAX_DEPTH} levels", f"{source}:1"),)) from None
    finally:
        if loader is not None:
            loader.dispose()


class _Walker:
    """Converts YAML nodes to Python values one at a time, so that every mistake has its line."""

    def __init__(self, loader: _Loader, source: str, places: dict[Keys, str]) -> None:
        self.loader = loader
        self.source = source
        self.places = places
        self.count = 0

    def fail(self, path: Keys, message: str, node: yaml.Node) -> ConfigError:
        return ConfigError((Problem(".".join(path), message, f"{self.source}:{node.start_mark.line + 1}"),))

    def walk(self, node: yaml.Node, path: Keys, depth: int) -> Any:
        self.count += 1
        if depth > MAX_DEPTH:
            raise self.fail(path[:3], f"nested deeper than {MAX_DEPTH} levels", node)
        if self.count > MAX_NODES:
            raise self.fail(path[:3], f"more than {MAX_NODES} values", node)
        self.places.setdefault(path, f"{self.source}:{node.start_mark.line + 1}")
        if node.tag.removeprefix("tag:yaml.org,2002:") not in TAGS:
            raise self.fail(path, f"text that begins with ! is a tag, which is not allowed; {QUOTE}", node)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.walk(item, (*path, str(i)), depth + 1) for i, item in enumerate(node.value)]
        try:
            value = self.loader.construct_object(node)
        except (ValueError, OverflowError, yaml.YAMLError) as error:
            what = explain(getattr(error, "problem", None) or str(error).splitlines()[0])
            shown = "the value" if path[:1] == ("storage",) else describe(node.value)
            raise self.fail(path, f"cannot read {shown}: {what}", node) from None
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise self.fail(path, "half of a surrogate pair is no character", node) from None
        return value

    def mapping(self, node: yaml.MappingNode, path: Keys, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        own = [(key, value) for key, value in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                result |= self.merged(value, path, depth)
        for number, (key, value) in enumerate(own):
            if number and value.tag.endswith(":null"):
                self.check_commas(path, own, number)
            name = self.walk(key, (*path, "<key>"), depth + 1)
            self.places.pop((*path, "<key>"), None)
            if not isinstance(name, str):
                raise self.fail(path, f"the key {describe(name)} is not text; quote it", key)
            if name in lines:
                raise self.fail((*path, name), f"written twice, first in line {lines[name]}", key)
            lines[name] = key.start_mark.line + 1
            self.places[(*path, name)] = f"{self.source}:{lines[name]}"
            result[name] = self.walk(value, (*path, name), depth + 1)
        return result

    def check_commas(self, path: Keys, own: list[tuple[yaml.Node, yaml.Node]], number: int) -> None:
        """Raise ConfigError if a comma in braces has split a value in two: `{low: 0,001}`, `{weight: uniform(1, 2)}`.
        own: the mapping's keys and values. number: index of the first key without a value; it may be the rest of a
        value."""
        (key, before), (rest, _) = own[number - 1], own[number]
        name = (*path, key.value)
        if name[0] == "storage" or not all(isinstance(node, yaml.ScalarNode) for node in (key, before, rest)):
            return
        if before.tag.endswith((":int", ":float")) and re.fullmatch(r"\d+(?:[eE][-+]?\d+)?", rest.value):
            message = f"found {before.value},{rest.value}; a decimal comma? write {before.value}.{rest.value}"
            raise self.fail(name, message, rest)
        parts = [before.value]
        for piece, value in own[number:]:
            if not isinstance(piece, yaml.ScalarNode) or not value.tag.endswith(":null"):
                return
            parts.append(piece.value)
            if piece.value.endswith(")"):
                break
        text = ", ".join(parts)
        if "(" in before.value and text.endswith(")") and (hint := nearest(text, "float_type", ranges=True, path=name)):
            raise self.fail(name, f"expected a value, found {text}{hint}", rest)

    def merged(self, node: yaml.Node, path: Keys, depth: int) -> dict[str, Any]:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        result: dict[str, Any] = {}
        for part in parts:
            value = self.walk(part, path, depth + 1)
            if not isinstance(value, dict):
                raise self.fail(path, f"'<<' needs a mapping, found {describe(value)}", part)
            result = value | result
        return result


def _apply(yaml_source: YamlSource, override: str) -> None:
    name, equals, text = override.partition("=")
    location = f"{OVERRIDE}{override if len(override) <= LONGEST_SET else name}"
    if name.strip().split(".")[0] == "storage":  # it may hold a password
        location = "--set storage=..."
    keys = tuple(name.strip().split("."))
    if not equals or not all(keys):
        raise ConfigError((Problem("", "expected path=value, such as train.epochs=4", location),))
    try:
        value: Any = text.strip() if keys == ("storage",) and not text.strip().startswith(("'", '"')) else None
        if value is None:  # an unquoted URL may be something else to YAML
            value, _ = _load(text, location)
    except ConfigError as error:
        whole = ".".join(filter(None, [name, error.problems[0].path]))
        raise ConfigError((Problem(whole, error.problems[0].message, location),)) from None
    try:
        put(yaml_source.tree, keys, value)
    except Unsettable as error:
        there = keys[: error.depth]
        if isinstance(error.value, list):
            raise ConfigError((Problem(name, f"{'.'.join(there)} is a list; set it whole", location),)) from None
        message = f"is {describe(error.value)}, nothing can be set below it"
        raise ConfigError((Problem(".".join(there), message, location),)) from None
    forget(yaml_source.places, keys)
    for depth in range(1, len(keys)):  # sections that this override creates
        yaml_source.places.setdefault(keys[:depth], location)
    yaml_source.places[keys] = location


def forget(places: dict[Keys, str], keys: Keys) -> None:
    """Remove the lines of a replaced or removed value, and of everything below it."""
    for old in [path for path in places if path[: len(keys)] == keys]:
        del places[old]
