"""Evaluation protocol and user-defined metrics of a configuration."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from weightsearch.config.schema import Configuration
from weightsearch.errors import ModelError
from weightsearch.metrics.depth_metrics import OwnMetric
from weightsearch.metrics.protocol import Protocol
from weightsearch.plugins import all_options, resolve
from weightsearch.user_code import at, own_code

TRIED_PIXELS: Final = 64  # made-up pixels on which a user's own metric is called before a training


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
    where = f"evaluation.metrics.{name}"

    def call(predicted: Tensor, true: Tensor) -> float:
        with own_code(where, function):
            value: object = function(predicted, true)
            if isinstance(value, (int, float, np.number, np.ndarray, Tensor)) and np.ndim(value) == 0:
                return float(value)
            kind = "None" if value is None else type(value).__name__
            shape = f" of the shape {list(value.shape)}" if isinstance(value, (np.ndarray, Tensor)) else ""
            raise ModelError(
                f"{where}: returned {kind}{shape}; a metric returns a number for the pixels of an image, such as their "
                f"mean{at(function)}"
            )

    return call


def check_own_metrics(configuration: Configuration) -> None:
    """Call each metric of `evaluation.metrics` on made-up depths in the configuration's range. Raises ModelError for a
    metric that raises, or returns no finite number."""
    low, high = configuration.depth_range
    true = torch.linspace(low, high, TRIED_PIXELS + 2, dtype=torch.float64)[1:-1]
    for name, metric in own_metrics(configuration).items():
        value = metric((1.1 * true).clamp(max=high), true)
        if not math.isfinite(value):
            raise ModelError(f"evaluation.metrics.{name}: is {value} for depths between {low:g} and {high:g} m")


def _truth(configuration: Configuration) -> str | None:
    """Kind of ground truth selected by the dataset's options; None if the dataset has only one kind."""
    data = configuration.data
    says = getattr(resolve("data", data.name), "truth_of", None)
    if not callable(says):
        return None
    return str(says(all_options("data", data.name, data.options, configuration.context)))
