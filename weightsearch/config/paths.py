"""Dotted paths of a study file: `loss.silog.weight`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any


class Unsettable(Exception):
    """A path leads through a value that is not a mapping. depth: the number of keys that lead to it. value: the value
    there."""

    def __init__(self, depth: int, value: object) -> None:
        super().__init__(depth, value)
        self.depth = depth
        self.value = value


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings: dotted path -> value."""
    pairs: dict[str, Any] = {}
    for key, value in tree.items():
        pairs |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return pairs


def section(tree: Mapping[str, Any], *path: str) -> dict[str, Any]:
    """The mapping at a path of a tree as written; empty if there is none."""
    value: Any = tree
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def term_of(path: str) -> str | None:
    """The loss term of a dotted path, such as `mae` of `loss.mae.weight`; None for a path of another section."""
    section, _, rest = path.partition(".")
    return rest.partition(".")[0] if section == "loss" else None


def put(tree: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set the value at a path, in place. Missing mappings are created; the short form of a section (`sampler: tpe`,
    `evaluation: nyu`) becomes its long form first. Raises Unsettable for any other value along the path."""
    branch = tree
    for depth, key in enumerate(keys[:-1], start=1):
        child = branch.get(key)
        if child is None:
            child = branch[key] = {}
        elif isinstance(child, str):
            child = branch[key] = {"preset" if tuple(keys[:depth]) == ("evaluation",) else "name": child}
        elif not isinstance(child, dict):
            raise Unsettable(depth, child)
        branch = child
    branch[keys[-1]] = value


def fill(tree: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the tree with the values at their dotted paths."""
    result: dict[str, Any] = copy.deepcopy(dict(tree))
    for name, value in values.items():
        put(result, name.split("."), copy.deepcopy(value))
    return result
