"""`extends`: a study file that contains only its differences from another study file."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeGuard

from weightsearch.config.paths import section, term_of
from weightsearch.config.ranges import find_ranges, is_range
from weightsearch.config.yaml_source import Keys, YamlSource, apply_overrides, describe, forget, read_yaml
from weightsearch.errors import ConfigError, Problem, command
from weightsearch.plugins import known_words

KEY: Final = "extends"
DEEPEST: Final = 10  # files in a chain of `extends`
OF_THE_FILE: Final = ("name", "storage")  # never inherited
REMOVABLE: Final[tuple[Keys, ...]] = (("loss",), ("search", "baselines"))  # null removes an inherited entry there
WHOLE: Final[Keys] = ("search", "baselines")  # entries are replaced as a whole: a baseline gives every value
REPLACED: Final[tuple[Keys, ...]] = (("search", "objectives"),)  # sections that are replaced as a whole
# Keys that are inherited when a section names another plug-in; the plug-in's options are not.
STAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "data": ("size", "min_depth", "max_depth", "neighbours"),
    "loss": ("weight",),
}


Source = str | os.PathLike[str] | Mapping[str, Any]  # a study file, or its content


def read_study(source: Source, overrides: Iterable[str] = ()) -> YamlSource:
    """Read a study file with everything that it extends, then apply `path=value` overrides. Raises ConfigError with
    file and line."""
    if isinstance(source, Mapping):
        given = YamlSource.of_mapping(copy.deepcopy(dict(source)))
        chain = _chain(given, Path("study.yaml"), ())
    else:
        path = _existing(Path(source))
        chain = _chain(read_yaml(path), path, ())
    yaml_source = _stacked(chain)
    apply_overrides(yaml_source, overrides)
    return yaml_source


def shipped() -> dict[str, Path]:
    """The studies that weightsearch ships, by name."""
    folder = Path(str(files("weightsearch"))) / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _existing(path: Path) -> Path:
    """The path of a study file. Raises ConfigError for a name without a file: of a shipped study, or without .yaml."""
    if os.path.exists(path):  # noqa: PTH110 - pathlib raises for a name that is too long
        return path
    for other in (f"{path}.yaml", str(path.with_suffix(".yaml")), str(path.with_suffix(".yml"))):
        if os.path.isfile(other):  # noqa: PTH113
            raise ConfigError((Problem("", f"no such file; did you mean {other}?", str(path)),))
    if (name := path.name.removesuffix(".yaml")) in shipped():
        file = path.with_name(f"{name}.yaml")
        output = [] if file == Path(file.name) else ["--out", file]
        text = f"no such file; {command('weightsearch', 'init', name, *output)} writes the shipped study"
        raise ConfigError((Problem("", text, str(path)),))
    return path


def _chain(own: YamlSource, path: Path, extended_by: tuple[Path, ...]) -> list[YamlSource]:
    """A file and the files that it extends, the last one first. extended_by: the files that extend it."""
    if KEY not in own.tree:
        return [own]
    target = own.tree.pop(KEY)
    if not isinstance(target, str) or not target:
        expected = "expected a shipped study's name or a file"
        raise own.error((KEY,), f"{expected}, found {describe(target)}; shipped: {', '.join(shipped())}")
    other = _located(own, path, target)
    seen = (*extended_by, path.resolve())
    if other.resolve() in seen or len(seen) >= DEEPEST:
        raise own.error((KEY,), f"{target} extends this file in turn")
    try:
        return [*_chain(read_yaml(other), other, seen), own]
    except ConfigError as error:
        if extended_by or other.is_file():
            raise
        raise own.error((KEY,), f"{target}: {error.problems[0].message}") from None


def _stacked(chain: Sequence[YamlSource]) -> YamlSource:
    """The files of a chain merged into one. An inherited baseline gives loss terms that were added after it the weight
    0, so that it stays the loss that it was; its values for terms that were removed after it are removed. If terms were
    added and removed, the loss may be another one: the baseline stays as it is written."""
    merged, *others = chain
    written = {name: set(section(merged.tree, "loss")) for name in section(merged.tree, *WHOLE)}  # baseline -> terms
    for own in others:
        merged = _extended(merged, own)
        written |= {name: set(section(merged.tree, "loss")) for name in section(own.tree, *WHOLE)}
    baselines, loss = section(merged.tree, *WHOLE), section(merged.tree, "loss")
    for name, values in baselines.items():
        added, removed = loss.keys() - written[name], written[name] - loss.keys()
        if isinstance(values, dict) and not (added and removed):
            kept = {path: value for path, value in values.items() if term_of(path) not in removed}
            baselines[name] = {**_without(loss, added), **kept}
    return merged


def _extended(base: YamlSource, own: YamlSource) -> YamlSource:
    """A file merged with the file that it extends."""
    for key in OF_THE_FILE:
        forget(base.places, (key,))
        base.tree.pop(key, None)
    places = dict(base.places)
    tree = _merged(base.tree, own.tree, (), places)
    name = {"name": tree.pop("name")} if "name" in tree else {}
    return YamlSource({**name, **tree}, own.source, {**places, **own.places})


def _without(loss: Mapping[str, Any], terms: Collection[str]) -> dict[str, Any]:
    """Values of a baseline without these loss terms: the weight 0, and any value for each other range."""
    values: dict[str, Any] = {}
    for name, term in loss.items():
        if name in terms and isinstance(term, dict) and "weight" in term:
            ranges = dict(find_ranges(term))
            values |= {f"loss.{name}.{'.'.join(path)}": _any_value(written) for path, written in ranges.items()}
            values[f"loss.{name}.weight"] = 0
    return values


def _any_value(written: Mapping[str, Any]) -> Any:
    """A value of a range as written; None if the range is not valid."""
    choices = written.get("choices")
    return choices[0] if isinstance(choices, list) and choices else written.get("low")


def _located(own: YamlSource, path: Path, target: str) -> Path:
    """The file that is extended: a shipped study, or a path relative to this file."""
    if target in (studies := shipped()):
        return studies[target]
    file = path.parent / target
    if file.suffix not in (".yaml", ".yml"):
        raise own.error(
            (KEY,), f"no shipped study {target!r}{known_words(target, studies)}, or a file that ends in .yaml"
        )
    return file


def _merged(base: Mapping[str, Any], own: Mapping[str, Any], path: Keys, places: dict[Keys, str]) -> dict[str, Any]:
    """Merge both trees; `own` overrides `base`. Ranges, lists and baselines are replaced as a whole. places: lines of
    the base's values; replaced values are removed from it."""
    result = dict(base)
    for key, value in own.items():
        here, old = (*path, key), base.get(key)
        if value is None and path in REMOVABLE:
            result.pop(key, None)
        elif path != WHOLE and here not in REPLACED and _is_section(old) and _is_section(value):
            result[key] = _merged(_inherited(old, value, here), value, here, places)
            continue
        else:
            result[key] = value
        forget(places, here)
    return result


def _is_section(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and not is_range(value)


def _inherited(old: Mapping[str, Any], new: Mapping[str, Any], path: Keys) -> Mapping[str, Any]:
    """The part of a section that is inherited: all of it or, if the file names another plug-in, the keys in STAYS."""
    plugin = path in (("data",), ("model",), ("search", "sampler"), ("search", "pruner"))
    key = "name" if plugin else "term" if len(path) == 2 and path[0] == "loss" else None
    if key is None or key not in new or new[key] == old.get(key):
        return old
    stays = STAYS.get(path[0], ())
    return {name: value for name, value in old.items() if name in stays}
