"""All metrics by name. New metrics belong in the module of their prediction, such as depth_metrics.py."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from weightsearch.metrics import depth_metrics, flow_metrics, odometry_metrics
from weightsearch.metrics.metric import Metric

METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {metric.name: metric for metric in (*depth_metrics.METRICS, *odometry_metrics.METRICS, *flow_metrics.METRICS)}
)
