"""A study file -> StudyConfig: one configuration, the ranges in it, and how to search them."""

from __future__ import annotations

import copy
import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from weightsearch.config.differences import flat
from weightsearch.config.hints import database_url
from weightsearch.config.objectives import check_objectives
from weightsearch.config.ranges import (
    Choices,
    FloatRange,
    Range,
    as_real,
    as_whole,
    as_written,
    find_ranges,
    is_range,
    parse_range,
    text_of,
)
from weightsearch.config.schema import CONFIGURATION_KEYS, KNOWN_KEYS, Configuration, Ray, Search
from weightsearch.config.validate import RANGE_SECTIONS, check_plugin, validate
from weightsearch.config.yaml_source import Keys, YamlSource, describe, read_yaml
from weightsearch.errors import ConfigError, OptionError, Secret, counted
from weightsearch.files import expanded
from weightsearch.plugins import known_words
from weightsearch.records import BETTER

PATHS: Final[tuple[Keys, ...]] = (("data", "root"), ("model", "weights"))
NOT_FILES: Final = ("none", "pretrained")


@dataclass(frozen=True)
class StudyConfig:
    """A checked study file.

    tree: the configuration's sections as written (overrides applied, paths absolute, `${VAR}` kept), ranges included.
    space: the range of every searched parameter by its dotted path, in the order of the file.
    base: the configuration at the first value of every range.
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
        """The configuration with every range replaced. values: dotted path -> value; may also override others."""
        return validate(self.yaml_source, Configuration, _expanded(self.yaml_source, fill(self.tree, values)))


@dataclass(frozen=True)
class StudyIdentity:
    """The values that find a study in its database. trials: the number in the file, if any. place: the file and line of
    the storage."""

    name: str
    trials: int | None
    storage: str = field(repr=False)
    place: str = ""


def load_study(path: Path, overrides: Iterable[str] = ()) -> StudyConfig:
    """Read and check a study file whole, its plug-ins and paths included. Raises ConfigError."""
    config = _study(*_read(path, overrides))
    _check_terms_of_baselines(config)
    return config


def restore_study(source: str, tree: Mapping[str, Any], search: Mapping[str, Any]) -> StudyConfig:
    """A study from what its database kept of its file. source: what errors call it. Raises ConfigError."""
    whole = {**copy.deepcopy(dict(tree)), "search": dict(search)}
    yaml_source = YamlSource(whole, source)
    return _study(yaml_source, {key: whole[key] for key in CONFIGURATION_KEYS if key in whole})


def _study(yaml_source: YamlSource, tree: dict[str, Any]) -> StudyConfig:
    base, space = _check_space(yaml_source, tree)
    if "search" not in yaml_source.tree:
        raise yaml_source.error(
            (),
            "the section 'search' is missing; a study needs objectives and trials; a file "
            "without it is a configuration: weightsearch train FILE",
        )
    search = validate(yaml_source, Search, yaml_source.tree["search"], ("search",))
    ray = validate(yaml_source, Ray, yaml_source.tree.get("ray", {}), ("ray",))
    if not space:
        raise yaml_source.error((), "nothing to search: no value is a range such as {low: 0.1, high: 10, log: true}")
    search = search.model_copy(update={"baselines": _as_written(space, search.baselines)})
    check_objectives(yaml_source, search, list(base.loss), base.possible_metrics)
    for kind in ("sampler", "pruner"):
        section = getattr(search, kind)
        check_plugin(yaml_source, kind, section.name, section.options, {"epochs": base.train.epochs}, ("search", kind))
    config = StudyConfig(yaml_source, tree, MappingProxyType(space), base, search, ray, _storage(yaml_source))
    _check_baselines(config)
    return config


def load_configuration(path: Path, overrides: Iterable[str] = ()) -> Configuration:
    """Read and check a training configuration: a study file in which no value is a range. Raises ConfigError."""
    yaml_source, tree = _read(path, overrides)
    ranges = [".".join(found) for found, _ in find_ranges(tree)]
    if ranges:
        first = tuple(ranges[0].split("."))
        more = f" ({len(ranges)} ranges: {', '.join(ranges)})" if len(ranges) > 1 else ""
        raise yaml_source.error(
            first, f"is a range; to train, give it a value with --set {ranges[0]}=VALUE, or export the best{more}"
        )
    return check_configuration(yaml_source, tree)


def load_base(path: Path, overrides: Iterable[str] = ()) -> Configuration:
    """The configuration of a study file with each range at a value of it, or that of a file without ranges. Raises
    ConfigError."""
    yaml_source, tree = _read(path, overrides)
    return _check_space(yaml_source, tree)[0]


def load_identity(path: Path, overrides: Iterable[str] = ()) -> StudyIdentity:
    """Only the name and storage of a study file: enough to read its database, whatever else has changed."""
    yaml_source = read_yaml(path, overrides)
    name = yaml_source.tree.get("name")
    if not isinstance(name, str) or not name:
        raise yaml_source.error(("name",), f"expected the study's name, found {describe(name)}")
    search = yaml_source.tree.get("search")
    trials = search.get("trials") if isinstance(search, dict) else None
    return StudyIdentity(
        name, trials if type(trials) is int else None, _storage(yaml_source), yaml_source.place(("storage",))
    )


def locate(path: Path, overrides: Iterable[str], error: OptionError) -> ConfigError:
    """An error about an option, with the file and line of its value."""
    return read_yaml(path, overrides).error(error.option.split("."), error.message)


def fill(tree: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the tree with the values put at their dotted paths."""
    result: dict[str, Any] = copy.deepcopy(dict(tree))
    for name, value in values.items():
        *parents, last = name.split(".")
        branch = result
        for key in parents:
            child = branch.get(key)
            if not isinstance(child, dict):
                child = {"name": child} if isinstance(child, str) else {}
                branch[key] = child
            branch = child
        branch[last] = copy.deepcopy(value)
    return result


def check_configuration(yaml_source: YamlSource, tree: Mapping[str, Any]) -> Configuration:
    """Check sections, plug-ins, their options and paths of a tree without ranges."""
    configuration = validate(yaml_source, Configuration, _expanded(yaml_source, tree))
    root = configuration.data.root
    if root is not None and not os.path.isdir(root):  # noqa: PTH112 - pathlib raises for a name that is too long
        raise yaml_source.error(("data", "root"), f"no such folder: {describe(root)}")
    _plugin_arguments(yaml_source, configuration)
    return configuration


def _plugin_arguments(yaml_source: YamlSource, configuration: Configuration) -> dict[Keys, dict[str, Any]]:
    """The checked options of every plug-in by the path of its section."""
    data, model, context = configuration.data, configuration.model, configuration.context
    of_loss = configuration.loss_context
    found = {
        ("data",): check_plugin(yaml_source, "data", data.name, data.options, context, ("data",)),
        ("model",): check_plugin(yaml_source, "model", model.name, model.options, context, ("model",)),
    }
    return found | {
        ("loss", name): check_plugin(yaml_source, "loss", term.term or name, term.options, of_loss, ("loss", name))
        for name, term in configuration.loss.items()
    }


def _read(path: Path, overrides: Iterable[str]) -> tuple[YamlSource, dict[str, Any]]:
    """A file whose sections are known and paths absolute, and those of its sections that make the configuration."""
    yaml_source = read_yaml(path, overrides)
    for key in yaml_source.tree:
        if key not in KNOWN_KEYS:
            raise yaml_source.error((key,), f"unknown key{known_words(key, KNOWN_KEYS)}")
    _absolute(yaml_source)
    _stop_by_objective(yaml_source.tree)
    return yaml_source, {key: yaml_source.tree[key] for key in CONFIGURATION_KEYS if key in yaml_source.tree}


def _stop_by_objective(tree: Mapping[str, Any]) -> None:
    """Early stopping that names no metric goes by the first objective."""
    train = tree.get("train")
    stopping = train.get("early_stopping") if isinstance(train, dict) else None
    first = next(iter(_objectives(tree)), None)
    if isinstance(stopping, dict) and "patience" in stopping and first in BETTER:
        stopping.setdefault("metric", first)


def _objectives(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """As they are written, before they are checked; none where there is no such section."""
    search = tree.get("search")
    objectives = search.get("objectives") if isinstance(search, dict) else None
    return objectives if isinstance(objectives, dict) else {}


def _check_space(yaml_source: YamlSource, tree: Mapping[str, Any]) -> tuple[Configuration, dict[str, Range]]:
    raw: dict[str, FloatRange | Choices] = {}
    for path, written in find_ranges(yaml_source.tree):
        if path[0] not in RANGE_SECTIONS:
            if path[:2] == ("search", "baselines"):
                raise yaml_source.error(path, "a baseline needs a value, not a range")
            raise yaml_source.error(path, f"a range may only stand in {', '.join(RANGE_SECTIONS)}")
        if len(path) == 2 and path[0] == "loss":
            raise yaml_source.error(path, f"a term is a mapping; write {{weight: {text_of(written)}}}")
        raw[".".join(path)] = parse_range(yaml_source, path, written)
    first = {name: found.ends()[0] for name, found in raw.items()}
    base = check_configuration(yaml_source, fill(tree, first))
    options = _plugin_arguments(yaml_source, base)
    space: dict[str, Range] = {}
    for name, found in raw.items():
        space[name] = _typed(yaml_source, tuple(name.split(".")), found, base, options)
        for value in space[name].ends():
            other = check_configuration(yaml_source, fill(tree, first | {name: value}))
            _check_comparable(yaml_source, tuple(name.split(".")), base, other)
    return base, space


def _typed(
    yaml_source: YamlSource,
    path: Keys,
    found: FloatRange | Choices,
    base: Configuration,
    options: Mapping[Keys, Mapping[str, Any]],
) -> Range:
    """A numeric range of whole numbers in a field that takes whole numbers is an IntRange."""
    if isinstance(found, Choices):
        return found
    value: Any = base.model_dump()
    for depth, key in enumerate(path):
        checked = options.get(path[:depth], {})
        value = checked[key] if key in checked else value.get(key) if isinstance(value, dict) else None
    whole = isinstance(value, int) and all(isinstance(end, int) for end in found.ends())
    return as_whole(yaml_source, path, found) if whole else as_real(found)


def _as_written(space: Mapping[str, Range], baselines: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Baselines with each searched value as its range writes it: 10 for 10.0."""
    return {
        name: {path: as_written(space[path], value) if path in space else value for path, value in values.items()}
        for name, values in baselines.items()
    }


def _check_baselines(config: StudyConfig) -> None:
    yaml_source = config.yaml_source
    section = ("search", "baselines")
    if len(config.search.baselines) > config.search.trials:
        raise yaml_source.error(
            ("search", "trials"),
            f"{counted(config.search.trials, 'trial')} cannot hold the "
            f"{counted(len(config.search.baselines), 'baseline')}",
        )
    known = flat(config.tree)
    for name, values in config.search.baselines.items():
        place = (*section, name)
        for path, value in values.items():
            weight = f"{path}.weight"
            if path.count(".") == 1 and path.startswith("loss.") and not isinstance(value, dict):
                raise yaml_source.error((*place, path), f"is a loss term, not a value; did you mean {weight}: {value}?")
            if path.split(".")[0] not in RANGE_SECTIONS:
                raise yaml_source.error((*place, path), f"a baseline may set values in {', '.join(RANGE_SECTIONS)}")
            if is_range(value) or (isinstance(value, dict) and any(find_ranges(value))):
                raise yaml_source.error((*place, path), "a baseline needs a value, not a range")
        for path in config.space:
            if path not in values:
                unknown = [one for one in values if one not in config.space and one not in known]
                if close := difflib.get_close_matches(path, unknown, n=1, cutoff=0.8):
                    raise yaml_source.error((*place, close[0]), f"unknown; did you mean {path!r}?")
                raise yaml_source.error(place, f"leaves the searched {path} open; give it a value")
        try:
            other = check_configuration(yaml_source, fill(config.tree, values))
            _check_comparable(yaml_source, (), config.base, other)
        except ConfigError as error:
            problem = error.problems[0]
            raise yaml_source.error((*place, *filter(None, [problem.path])), problem.message) from None


def _check_terms_of_baselines(config: StudyConfig) -> None:
    """Raise ConfigError for a baseline with a loss term that the study does not have. Databases of older versions may
    hold such baselines."""
    terms = list(config.base.loss)
    for name, values in config.search.baselines.items():
        for path in values:
            section, _, rest = path.partition(".")
            term = rest.partition(".")[0]
            if section == "loss" and term not in terms:
                text = f"the study has no term {term!r}{known_words(term, terms)}"
                way_out = f"; for a term of this baseline alone, give it weight 0 in loss: {term}: {{weight: 0}}"
                raise config.yaml_source.error(("search", "baselines", name, path), text + way_out)


def _check_comparable(yaml_source: YamlSource, path: Keys, base: Configuration, other: Configuration) -> None:
    if other.measured_on != base.measured_on:  # flow's errors are in pixels of evaluation.size
        changed = next(key for key, value in base.measured_on.items() if other.measured_on[key] != value)
        way_out = "; set evaluation.size" if changed == "size" else ""
        raise yaml_source.error(
            path,
            f"changes what the objectives are measured on ({changed}), so that trials could not be compared{way_out}",
        )


def _storage(yaml_source: YamlSource) -> str:
    value = yaml_source.tree.get("storage")
    if value is None:
        return f"sqlite:///{yaml_source.tree.get('name')}.db"
    if not isinstance(value, str) or not value:
        kinds = {dict: "a mapping", list: "a list", bool: "true or false", str: "nothing"}
        found = kinds.get(type(value), "a number")
        text = f"expected a database URL, found {found}; write the URL itself: storage: sqlite:///study.db"
        raise yaml_source.error(("storage",), text)
    url = Secret(_variables(yaml_source, ("storage",), Secret(value)))
    if not url.isprintable():
        raise yaml_source.error(("storage",), "a database URL has no such characters")
    if not re.match(r"^(sqlite|postgresql)(\+[a-z0-9_]+)?://", url):
        scheme = re.match(r"[a-z][a-z0-9+.-]*(?=://)", url)
        found = scheme.group() if scheme else "no scheme"
        raise yaml_source.error(
            ("storage",),
            f"expected a URL that starts with sqlite:/// or postgresql://, found {found}{database_url(value)}",
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


def _absolute(yaml_source: YamlSource) -> None:
    """Make relative paths absolute, so that a configuration trains from any folder and on a worker; `~` is the home
    folder wherever a path may stand."""
    for section in ("data", "model", "resources"):
        if isinstance(yaml_source.tree.get(section), dict):
            yaml_source.tree[section] = _at_home(yaml_source.tree[section])
    for section, key in PATHS:
        branch = yaml_source.tree.get(section)
        if not isinstance(branch, dict) or key not in branch:
            continue
        value = branch[key]
        if isinstance(value, dict) and isinstance(value.get("choices"), list):
            value["choices"] = [_absolute_path(item) for item in value["choices"]]
        else:
            branch[key] = _absolute_path(value)


def _absolute_path(value: Any) -> Any:
    if not isinstance(value, str) or value in NOT_FILES or value.startswith("${") or not value:
        return value
    return os.path.abspath(expanded(value))


def _at_home(value: Any) -> Any:
    """A value of a section in which each text that begins with `~` is a path in the home folder."""
    if isinstance(value, dict):
        return {key: _at_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    return expanded(value) if isinstance(value, str) and value.startswith("~") else value


def _expanded(yaml_source: YamlSource, tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with `${VAR}` replaced where that is allowed."""
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
            # a word in capitals is a variable's name; another word may be a password
            known = name if path != ("storage",) or re.fullmatch(r"[A-Z][A-Z0-9_]*", name) else "between ${ and }"
            raise yaml_source.error(path, f"the environment variable {known} is not set")
        return os.environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value, text)
