"""Evaluation protocol and user-defined metrics of a configuration."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from weightsearch.config.schema import Configuration
from weightsearch.errors import ModelError
from weightsearch.metrics.depth_metrics import OwnMetric
from weightsearch.metrics.protocol import Protocol
from weightsearch.plugins import all_options, resolve
from weightsearch.user_code import at, check_callable, own_code

TRIED_PIXELS: Final = 2000  # half of the made-up pixels on which a user's own metric is called before a training
NO_NUMBERS: Final = (str, bytes, complex, dict, set, type(None))  # types of one value that are no numbers


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
    """Functions of `evaluation.metrics`, by name. Raises ModelError for a function of other arguments."""
    return {name: _guarded(name, resolve("metric", path)) for name, path in configuration.evaluation.metrics.items()}


def _guarded(name: str, function: OwnMetric) -> OwnMetric:
    where = f"evaluation.metrics.{name}"
    check_callable(where, function, ("predicted", "true"))

    def call(predicted: Tensor, true: Tensor) -> float:
        with own_code(where, function):
            value: Any = function(predicted, true)
            count = value.numel() if isinstance(value, Tensor) else np.size(value)
            if count == 1 and not isinstance(value, NO_NUMBERS):
                return float(value.item() if isinstance(value, (np.ndarray, Tensor)) else value)
        kind = "None" if value is None else type(value).__name__
        shape = f" of the shape {list(value.shape)}" if isinstance(value, (np.ndarray, Tensor)) else ""
        raise ModelError(
            f"{where}: returned {kind}{shape}; a metric returns a number for the pixels of an image, such as their "
            f"mean{at(function)}"
        )

    return call


def try_own_metrics(configuration: Configuration) -> None:
    """Call each metric of `evaluation.metrics` on made-up depths in the configuration's range. Raises ModelError for a
    metric that raises, or returns no number."""
    low, high = configuration.depth_range
    linear = torch.linspace(low, high, TRIED_PIXELS + 2, dtype=torch.float64)[1:-1]
    spread = torch.linspace(math.log(low), math.log(high), TRIED_PIXELS + 2, dtype=torch.float64)[1:-1].exp()
    true = torch.cat([linear, spread])
    for metric in own_metrics(configuration).values():
        metric((1.1 * true).clamp(max=high), true.clone())


def _truth(configuration: Configuration) -> str | None:
    """Kind of ground truth selected by the dataset's options; None if the dataset has only one kind."""
    data = configuration.data
    says = getattr(resolve("data", data.name), "truth_of", None)
    if not callable(says):
        return None
    return str(says(all_options("data", data.name, data.options, configuration.context)))
