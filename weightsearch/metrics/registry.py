"""All metrics by name. A metric is added in the file of its prediction: depth.py, odometry.py or flow.py."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from weightsearch.metrics import depth, flow, odometry
from weightsearch.metrics.metric import Metric

METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {metric.name: metric for metric in (*depth.METRICS, *odometry.METRICS, *flow.METRICS)}
)
