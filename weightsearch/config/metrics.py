"""The metrics that a study may use: those that its network and data set allow, and the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from weightsearch.config.schema import Configuration, Search
from weightsearch.config.yaml_source import Keys, YamlSource
from weightsearch.errors import OptionError
from weightsearch.plugins import attribute, known_words, names_with, resolve
from weightsearch.records import Direction

if TYPE_CHECKING:
    from weightsearch.metrics.metric import Metric

ALL: Final = ("depth", "pose", "flow", "moving")
SEVERAL: Final = "several_objectives"  # an attribute of pruners


def find(name: str) -> Metric | None:
    """One of weightsearch's metrics by name."""
    from weightsearch.metrics.registry import METRICS

    return METRICS.get(name)


def direction_of(name: str) -> Direction | None:
    """The better direction of one of weightsearch's metrics; None for any other name."""
    metric = find(name)
    return None if metric is None else metric.direction


def possible_metrics(configuration: Configuration) -> tuple[str, ...]:
    """The metrics that are possible with a configuration's network and data set, and the user's own. All metrics are
    possible if network and data set do not declare their predictions and ground truth."""
    from weightsearch.metrics.registry import METRICS

    predicted = _declared("model", configuration.model.name, "predicts")
    ground_truth = _declared("data", configuration.data.name, "ground_truth")
    if not configuration.data.neighbours:
        predicted, ground_truth = predicted & {"depth"}, ground_truth - {"moving"}
    own = configuration.evaluation.metrics if "depth" in predicted & ground_truth else {}
    shipped = (
        name for name, metric in METRICS.items() if metric.predicts in predicted and metric.ground_truth <= ground_truth
    )
    return (*shipped, *own)


def _declared(kind: str, name: str, key: str) -> set[str]:
    """The quantities that a network predicts or a data set knows; all of them if it does not declare any."""
    declared = attribute(kind, name, key, ALL)
    return set(declared) if isinstance(declared, (tuple, list, set, frozenset)) else set(ALL)


def refusal(name: str, possible: Sequence[str]) -> str:
    """The error for a metric that is not possible, with the possible ones."""
    if find(name) is not None:
        return f"cannot be measured with this network and data set; possible: {', '.join(possible)}"
    return f"unknown metric{known_words(name, possible)}"


def check_objectives(yaml_source: YamlSource, search: Search, configuration: Configuration) -> None:
    """Raise ConfigError for an objective that depends on the loss weights, is unknown or not possible here, or has the
    wrong direction, and for a pruner that cannot compare several objectives."""
    section, possible = ("search", "objectives"), possible_metrics(configuration)
    if not search.objectives:
        raise yaml_source.error(section, f"no objective; known: {', '.join(possible)}")
    for name, direction in search.objectives.items():
        _check_objective(yaml_source, (*section, name), direction, configuration.loss, possible)
    if len(search.objectives) > 1 and not attribute("pruner", search.pruner.name, SEVERAL, default=False):
        others = " or ".join(names_with("pruner", SEVERAL))
        text = f"{search.pruner.name} compares one value; with several objectives use {others}"
        raise yaml_source.error(("search", "pruner"), text)


def _check_objective(
    yaml_source: YamlSource, path: Keys, direction: Direction, terms: Iterable[str], possible: Sequence[str]
) -> None:
    name = path[-1]
    right = direction_of(name)
    if right is not None and direction != right:
        better = "lower" if right == "minimize" else "higher"
        raise yaml_source.error(path, f"{better} {name} is better; expected {right}, found {direction}")
    if name in possible:
        return
    if right is None and ("loss" in name or "contribution" in name or name in ("total", "objective", *terms)):
        raise yaml_source.error(
            path,
            "depends on the loss weights, so that zero weights would win; use a validation metric: "
            + ", ".join(possible),
        )
    raise yaml_source.error(path, refusal(name, possible))


def check_early_stopping(yaml_source: YamlSource, configuration: Configuration) -> None:
    """Raise ConfigError for a metric of early stopping that is not possible."""
    stopping = configuration.train.early_stopping
    if stopping is None:
        return
    path, possible = ("train", "early_stopping", "metric"), possible_metrics(configuration)
    if stopping.metric not in possible:
        exists = find(stopping.metric) is not None
        unknown = f"unknown metric {stopping.metric!r}{known_words(stopping.metric, possible)}"
        raise yaml_source.error(
            path, f"{stopping.metric!r} {refusal(stopping.metric, possible)}" if exists else unknown
        )
    if stopping.better is None:
        raise yaml_source.error(
            path, f"{stopping.metric!r} is your own metric; add early_stopping.direction: minimize or maximize"
        )


def check_own_metrics(yaml_source: YamlSource, configuration: Configuration) -> None:
    """Raise ConfigError for a user's own metric that cannot be imported, or has the name of one of ours."""
    for name, target in configuration.evaluation.metrics.items():
        path = ("evaluation", "metrics", name)
        if find(name) is not None:
            raise yaml_source.error(path, "weightsearch has a metric of this name; give yours another one")
        try:
            resolve("metric", target)
        except OptionError as error:
            raise yaml_source.error(path, error.message) from None
