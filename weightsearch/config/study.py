"""A study file -> StudyConfig: one configuration, the ranges in it, and how to search them.

Two steps: `parse` turns text into typed records, without access to the disk, the environment or any plug-in; `resolve`
(in resolve.py) then checks plug-ins and their options, paths, environment variables and metrics.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from weightsearch.config.extends import KEY, Source, read_study
from weightsearch.config.paths import fill, section
from weightsearch.config.ranges import (
    Range,
    find_ranges,
    parse_range,
    text_of,
)
from weightsearch.config.schema import CONFIGURATION_KEYS, KNOWN_KEYS, RANGE_SECTIONS, Configuration, Ray, Search
from weightsearch.config.validate import M, section_keys, validate
from weightsearch.config.yaml_source import Keys, YamlSource, describe
from weightsearch.errors import ConfigError, OptionError, Problem
from weightsearch.plugins import known_words


@dataclass(frozen=True)
class StudyConfig:
    """A study file.

    tree: the configuration's sections as written, with overrides, ranges and `${VAR}`; after `resolve` paths are
    absolute. space: the range of every searched parameter by its dotted path, in the order of the file; ranges of
    integers get their type in `resolve`. base: the configuration at the first value of every range. storage: the
    database's URL; before `resolve` as written in the file, empty if the file has none.
    """

    yaml_source: YamlSource
    tree: Mapping[str, Any]
    space: Mapping[str, Range]
    base: Configuration
    search: Search
    ray: Ray
    storage: str = field(repr=False)  # it may hold a password

    @property
    def name(self) -> str:
        return self.base.name

    def configuration(self, values: Mapping[str, Any]) -> Configuration:
        """The configuration with every range replaced. values: dotted path -> value; may also override other values."""
        from weightsearch.config.resolve import with_variables

        return validate(self.yaml_source, Configuration, with_variables(self.yaml_source, fill(self.tree, values)))


def parse_study(yaml_source: YamlSource) -> StudyConfig:
    """A study from a file's YAML. Raises ConfigError."""
    tree = sections_of(yaml_source)
    space = _ranges(yaml_source)
    first = {name: range_.ends()[0] for name, range_ in space.items()}
    if "search" not in yaml_source.tree:
        validate(yaml_source, Configuration, fill(tree, first))
        raise yaml_source.error(
            (),
            "the section 'search' is missing; a study needs objectives and trials; a file "
            "without it is a configuration: weightsearch train FILE",
        )
    problems: list[Problem] = []
    base = _checked(problems, yaml_source, Configuration, fill(tree, first))
    search = _checked(problems, yaml_source, Search, yaml_source.tree["search"], ("search",))
    ray = _checked(problems, yaml_source, Ray, yaml_source.tree.get("ray", {}), ("ray",))
    if base is None or search is None or ray is None:
        raise ConfigError(tuple(problems))
    storage = yaml_source.tree.get("storage")
    text = storage if isinstance(storage, str) else ""
    return StudyConfig(yaml_source, tree, MappingProxyType(space), base, search, ray, text)


def _checked(problems: list[Problem], yaml_source: YamlSource, model: type[M], tree: Any, path: Keys = ()) -> M | None:
    """A checked section; None, with its mistakes added to the problems, if it has any."""
    try:
        return validate(yaml_source, model, tree, path)
    except ConfigError as error:
        problems += error.problems
        return None


def parse_stored(source: str, stored: Mapping[str, Any], trials: int = 1) -> StudyConfig:
    """A study from the sections of its file that its database stores. source: its name in errors. Raises
    ConfigError."""
    baselines = {label: dict(values) for label, values in stored["baselines"].items()}
    search = {
        "objectives": dict(stored["objectives"]),
        "baselines": baselines,
        "trials": max(1, trials, len(baselines)),
    }
    return parse_study(YamlSource({**copy.deepcopy(dict(stored["tree"])), "search": search}, source))


def load_study(source: Source, overrides: Iterable[str] = ()) -> StudyConfig:
    """Read and fully check a study file, with its plug-ins and paths. Raises ConfigError."""
    from weightsearch.config.baselines import check_terms
    from weightsearch.config.resolve import resolve_study

    config = resolve_study(parse_study(read_study(source, overrides)))
    check_terms(config)
    return config


def load_configuration(source: Source, overrides: Iterable[str] = ()) -> Configuration:
    """Read and check a training configuration: a study file in which no value is a range. Raises ConfigError."""
    from weightsearch.config.resolve import resolve_configuration

    yaml_source = read_study(source, overrides)
    ranges = [".".join(path) for path, _ in find_ranges(sections_of(yaml_source))]
    if ranges:
        first = tuple(ranges[0].split("."))
        more = f" ({len(ranges)} ranges: {', '.join(ranges)})" if len(ranges) > 1 else ""
        raise yaml_source.error(
            first,
            f"is a range; give it a value with --set {ranges[0]}=VALUE, or use the file of weightsearch export{more}",
        )
    return resolve_configuration(yaml_source, {})


def load_base(source: Source, overrides: Iterable[str] = ()) -> Configuration:
    """The configuration of a file, with each range replaced by its first value. Raises ConfigError."""
    from weightsearch.config.resolve import resolve_configuration

    yaml_source = read_study(source, overrides)
    sections_of(yaml_source)
    space = _ranges(yaml_source)
    return resolve_configuration(yaml_source, {name: range_.ends()[0] for name, range_ in space.items()})


@dataclass(frozen=True)
class StudyIdentity:
    """The values that identify a study in its database. trials: the number of trials in the file, if any. place:
    `file:line` of the storage."""

    name: str
    trials: int | None
    storage: str = field(repr=False)
    place: str = ""


def load_identity(source: Source, overrides: Iterable[str] = ()) -> StudyIdentity:
    """Read only the name, storage and number of trials of a study file: enough to open its database, even if other
    parts of the file are no longer valid."""
    from weightsearch.config.resolve import storage_of

    yaml_source = read_study(source, overrides)
    name = yaml_source.tree.get("name")
    if not isinstance(name, str) or not name:
        raise yaml_source.error(("name",), f"expected the study's name, found {describe(name)}")
    search = yaml_source.tree.get("search")
    trials = search.get("trials") if isinstance(search, dict) else None
    location = yaml_source.place(("storage",))
    return StudyIdentity(name, trials if type(trials) is int else None, storage_of(yaml_source), location)


def locate(source: Source, overrides: Iterable[str], error: OptionError) -> ConfigError:
    """An error about an option, with the file and line of its value."""
    return read_study(source, overrides).error(error.option.split("."), error.message)


def sections_of(yaml_source: YamlSource) -> dict[str, Any]:
    """The sections of a file that belong to its configuration. Raises ConfigError for an unknown key."""
    for key in yaml_source.tree:
        if key not in KNOWN_KEYS:
            if key == KEY:
                raise yaml_source.error((key,), "can only stand in the file itself")
            raise yaml_source.error((key,), f"unknown key{_meant(yaml_source.tree, key)}")
    _stop_by_objective(yaml_source.tree)
    return {key: yaml_source.tree[key] for key in CONFIGURATION_KEYS if key in yaml_source.tree}


def _meant(tree: Mapping[str, Any], key: str) -> str:
    """The end of a message about an unknown section: the section that has such a key, or the known sections."""
    written = [name for name in KNOWN_KEYS if key in section(tree, name)]
    fields = {name: section_keys(Configuration, (name,)) for name in CONFIGURATION_KEYS}
    fields |= {"search": section_keys(Search, ()), "ray": section_keys(Ray, ())}
    sections = written or [name for name, keys in fields.items() if key in keys]
    if sections:
        return f"; did you mean {sections[0]}.{key}?"
    return known_words(key, (*KNOWN_KEYS, KEY))


def _stop_by_objective(tree: Mapping[str, Any]) -> None:
    """Let early stopping use the first objective if it names no metric, and its direction for an own metric."""
    train = tree.get("train")
    stopping = train.get("early_stopping") if isinstance(train, dict) else None
    name, direction = next(iter(section(tree, "search", "objectives").items()), (None, None))
    if isinstance(stopping, dict) and "patience" in stopping and isinstance(name, str) and "metric" not in stopping:
        stopping["metric"] = name
    if isinstance(stopping, dict) and stopping.get("metric") == name and _is_own(tree, name):
        stopping.setdefault("direction", direction)


def _is_own(tree: Mapping[str, Any], metric: Any) -> bool:
    return metric in section(tree, "evaluation", "metrics")


def _ranges(yaml_source: YamlSource) -> dict[str, Range]:
    """Every range of the file by its dotted path; numeric ranges are FloatRanges until `resolve`."""
    space: dict[str, Range] = {}
    for path, written in find_ranges(yaml_source.tree):
        if path[0] not in RANGE_SECTIONS:
            if path[:2] == ("search", "baselines"):
                raise yaml_source.error(path, "a baseline needs a value, not a range")
            raise yaml_source.error(path, f"a range may only stand in {', '.join(RANGE_SECTIONS)}")
        for depth, key in enumerate(path, start=1):
            if not key or "." in key:  # the dotted path would be another one
                raise yaml_source.error(path[:depth], f"the key {key!r} cannot hold a range: it is empty or has a dot")
        if len(path) == 2 and path[0] == "loss":
            raise yaml_source.error(path, f"a term is a mapping; write {{weight: {text_of(written)}}}")
        space[".".join(path)] = parse_range(yaml_source, path, written)
    return space
