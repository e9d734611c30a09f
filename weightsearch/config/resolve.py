"""Resolving a parsed study: plug-ins and their options, paths, environment variables, metrics."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from weightsearch.config.baselines import check_baselines
from weightsearch.config.hints import database_url
from weightsearch.config.metrics import check_early_stopping, check_objectives, check_own_metrics
from weightsearch.config.paths import fill
from weightsearch.config.ranges import Choices, IntRange, Range, as_real, as_whole, as_written
from weightsearch.config.schema import CONFIGURATION_KEYS, Configuration
from weightsearch.config.study import StudyConfig
from weightsearch.config.validate import check_plugin, validate
from weightsearch.config.yaml_source import Keys, YamlSource, describe
from weightsearch.errors import ConfigError, Secret
from weightsearch.files import expanded

PATHS: Final[tuple[Keys, ...]] = (("data", "root"), ("model", "weights"))
NOT_FILES: Final = ("none", "pretrained")


def resolve_study(config: StudyConfig) -> StudyConfig:
    """A parsed study with absolute paths and ranges of the right kind, fully checked. Raises ConfigError."""
    yaml_source = config.yaml_source
    if not config.space:
        raise yaml_source.error((), "nothing to search: no value is a range such as {low: 0.1, high: 10, log: true}")
    tree = absolute(yaml_source)
    parsed = {name: _with_paths(range_, name, tree) for name, range_ in config.space.items()}
    first = {name: range_.ends()[0] for name, range_ in parsed.items()}
    base = _check(yaml_source, fill(tree, first))
    options = _plugin_arguments(yaml_source, base)
    space: dict[str, Range] = {}
    for name, range_ in parsed.items():
        path = tuple(name.split("."))
        space[name] = _typed(yaml_source, path, range_, base, options)
        for value in space[name].ends():
            other = _check(yaml_source, fill(tree, first | {name: value}))
            _check_comparable(yaml_source, path, base, other)
    search = config.search.model_copy(update={"baselines": _as_written(space, config.search.baselines)})
    for kind in ("sampler", "pruner"):
        section = getattr(search, kind)
        context = {"epochs": base.train.epochs}
        check_plugin(yaml_source, kind, section.name, section.options, context, ("search", kind))
    check_objectives(yaml_source, search, base)
    resolved = replace(
        config, tree=tree, space=MappingProxyType(space), base=base, search=search, storage=storage_of(yaml_source)
    )
    check_baselines(resolved)
    _check_values_of_baselines(resolved)
    return resolved


def _with_paths(range_: Range, name: str, tree: Mapping[str, Any]) -> Range:
    """Choices with the absolute paths of the tree; other ranges as they are."""
    if not isinstance(range_, Choices):
        return range_
    value: Any = tree
    for key in name.split("."):
        value = value[key]
    return Choices(tuple(value["choices"]))


def resolve_configuration(yaml_source: YamlSource, values: Mapping[str, Any]) -> Configuration:
    """The configuration of a file with these values at their dotted paths, fully checked. Raises ConfigError."""
    return _check(yaml_source, fill(absolute(yaml_source), values))


def _check(yaml_source: YamlSource, tree: Mapping[str, Any]) -> Configuration:
    """Check sections, plug-ins, their options and paths of a tree without ranges."""
    configuration = validate(yaml_source, Configuration, with_variables(yaml_source, tree))
    root = configuration.data.root
    if root is not None and not os.path.isdir(root):  # noqa: PTH112 - pathlib raises for a name that is too long
        raise yaml_source.error(("data", "root"), f"no such folder: {describe(root)}")
    _plugin_arguments(yaml_source, configuration)
    check_own_metrics(yaml_source, configuration)
    check_early_stopping(yaml_source, configuration)
    return configuration


def _plugin_arguments(yaml_source: YamlSource, configuration: Configuration) -> dict[Keys, dict[str, Any]]:
    """The checked options of every plug-in by the path of its section."""
    data, model, context = configuration.data, configuration.model, configuration.context
    of_loss = configuration.loss_context
    checked = {
        ("data",): check_plugin(yaml_source, "data", data.name, data.options, context, ("data",)),
        ("model",): check_plugin(yaml_source, "model", model.name, model.options, context, ("model",)),
    }
    return checked | {
        ("loss", name): check_plugin(yaml_source, "loss", term.term or name, term.options, of_loss, ("loss", name))
        for name, term in configuration.loss.items()
    }


def _typed(
    yaml_source: YamlSource,
    path: Keys,
    range_: Range,
    base: Configuration,
    options: Mapping[Keys, Mapping[str, Any]],
) -> Range:
    """The range with the type of its field: an IntRange if the ends and the field's value are integers."""
    if isinstance(range_, (Choices, IntRange)):
        return range_
    value: Any = base.model_dump()
    for depth, key in enumerate(path):
        checked = options.get(path[:depth], {})
        value = checked[key] if key in checked else value.get(key) if isinstance(value, dict) else None
    whole = isinstance(value, int) and all(isinstance(end, int) for end in range_.ends())
    return as_whole(yaml_source, path, range_) if whole else as_real(range_)


def _as_written(space: Mapping[str, Range], baselines: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Baselines with each searched value as its range writes it: 10 for 10.0."""
    return {
        name: {path: as_written(space[path], value) if path in space else value for path, value in values.items()}
        for name, values in baselines.items()
    }


def _check_values_of_baselines(config: StudyConfig) -> None:
    yaml_source = config.yaml_source
    for name, values in config.search.baselines.items():
        try:
            other = _check(yaml_source, fill(config.tree, values))
            _check_comparable(yaml_source, (), config.base, other)
            if not any(term.weight > 0 for term in other.loss.values()):
                raise yaml_source.error((), "every loss weight is 0; nothing can be learned")
        except ConfigError as error:
            problem = error.problems[0]
            raise yaml_source.baseline_error(name, filter(None, [problem.path]), problem.message) from None


def _check_comparable(yaml_source: YamlSource, path: Keys, base: Configuration, other: Configuration) -> None:
    if other.measured_on != base.measured_on:  # it includes evaluation.size: errors of flow are in its pixels
        changed = next(key for key, value in base.measured_on.items() if other.measured_on[key] != value)
        way_out = "; set evaluation.size" if changed == "size" else ""
        raise yaml_source.error(
            path,
            "cannot be searched or set by a baseline: it changes what the objectives are measured on "
            f"({changed.replace('_', ' ')}), so that trials could not be compared{way_out}",
        )


def storage_of(yaml_source: YamlSource) -> str:
    """The URL of a study's database. Raises ConfigError."""
    value = yaml_source.tree.get("storage")
    if value is None:
        return f"sqlite:///{yaml_source.tree.get('name')}.db"
    if not isinstance(value, str) or not value:
        kinds = {dict: "a mapping", list: "a list", bool: "true or false", str: "nothing"}
        type_name = kinds.get(type(value), "a number")
        text = f"expected a database URL, found {type_name}; write the URL itself: storage: sqlite:///study.db"
        raise yaml_source.error(("storage",), text)
    url = Secret(_variables(yaml_source, ("storage",), Secret(value)))
    if not url.isprintable():
        raise yaml_source.error(("storage",), "a database URL has no such characters")
    if not re.match(r"^(sqlite|postgresql)(\+[a-z0-9_]+)?://", url):
        scheme = re.match(r"[a-z][a-z0-9+.-]*(?=://)", url)
        start = scheme.group() if scheme else "no scheme"
        raise yaml_source.error(
            ("storage",),
            f"expected a URL that starts with sqlite:/// or postgresql://, found {start}{database_url(value)}",
        )
    sqlite = re.match(r"(sqlite(?:\+[a-z0-9_]+)?)://(/?)(.*)", url, re.DOTALL)
    if sqlite is None:
        return url
    kind, slash, database = sqlite.groups()
    if not slash and database:
        text = "found sqlite:// with two slashes; write sqlite:///file.db, with a fourth for a path from the root"
        raise yaml_source.error(("storage",), text)
    if database in ("", ":memory:"):
        raise yaml_source.error(("storage",), "a database in memory would be lost; write sqlite:///file.db")
    return Secret(f"{kind}:///{expanded(database)}")


def absolute(yaml_source: YamlSource) -> dict[str, Any]:
    """The sections of the configuration with absolute paths, so that it can be trained from any folder and on a worker.
    `~` is the home folder in every path."""
    tree = {key: yaml_source.tree[key] for key in CONFIGURATION_KEYS if key in yaml_source.tree}
    for section in ("data", "model", "resources"):
        if isinstance(tree.get(section), dict):
            tree[section] = _at_home(tree[section])
    for section, key in PATHS:
        branch = tree.get(section)
        if not isinstance(branch, dict) or key not in branch:
            continue
        value = branch[key]
        if isinstance(value, dict) and isinstance(value.get("choices"), list):
            branch[key] = {**value, "choices": [_absolute_path(item) for item in value["choices"]]}
        else:
            branch[key] = _absolute_path(value)
    return tree


def _absolute_path(value: Any) -> Any:
    if not isinstance(value, str) or value in NOT_FILES or value.startswith("${") or not value:
        return value
    return os.path.abspath(expanded(value))


def _at_home(value: Any) -> Any:
    """A value of a section, with `~` at the beginning of texts replaced by the home folder."""
    if isinstance(value, dict):
        return {key: _at_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    return expanded(value) if isinstance(value, str) and value.startswith("~") else value


def with_variables(yaml_source: YamlSource, tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with `${VAR}` replaced in the values that allow it."""
    result = dict(tree)
    for path in PATHS:
        section, key = path
        branch = result.get(section)
        if isinstance(branch, dict) and isinstance(branch.get(key), str):
            result[section] = branch | {key: _absolute_path(_variables(yaml_source, path, branch[key]))}
    return result


def _variables(yaml_source: YamlSource, path: Keys, text: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            # A word in capitals is a variable's name; any other word may be a password.
            shown = name if path != ("storage",) or re.fullmatch(r"[A-Z][A-Z0-9_]*", name) else "between ${ and }"
            raise yaml_source.error(path, f"the environment variable {shown} is not set")
        return os.environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value, text)
