"""Evaluation protocol and user-defined metrics of a configuration."""

from __future__ import annotations

from torch import Tensor

from weightsearch.config.schema import Configuration
from weightsearch.metrics.depth_metrics import OwnMetric
from weightsearch.metrics.protocol import Protocol
from weightsearch.plugins import all_options, resolve
from weightsearch.user_code import own_code


def protocol_of(configuration: Configuration, split: str) -> Protocol:
    """Protocol of a configuration's `evaluation` section."""
    data, evaluation = configuration.data, configuration.evaluation
    low, high = configuration.depth_range
    return Protocol(
        split=split,
        crop=evaluation.crop,
        min_depth=low,
        max_depth=high,
        size=evaluation.size or data.size,
        bits=evaluation.bits,
        flip_average=evaluation.flip_average,
        median_scaling=evaluation.median_scaling,
        aggregation=evaluation.aggregation,
        rel_denominator=evaluation.rel_denominator,
        truth=_truth(configuration),
    )


def own_metrics(configuration: Configuration) -> dict[str, OwnMetric]:
    """Functions of `evaluation.metrics`, by name."""
    return {name: _guarded(name, resolve("metric", path)) for name, path in configuration.evaluation.metrics.items()}


def _guarded(name: str, function: OwnMetric) -> OwnMetric:
    def call(predicted: Tensor, true: Tensor) -> float:
        with own_code(f"evaluation.metrics.{name}", function):
            return float(function(predicted, true))

    return call


def _truth(configuration: Configuration) -> str | None:
    """Kind of ground truth selected by the dataset's options; None if the dataset has only one kind."""
    data = configuration.data
    says = getattr(resolve("data", data.name), "truth_of", None)
    if not callable(says):
        return None
    return str(says(all_options("data", data.name, data.options, configuration.context)))
