"""Metrics of depth, odometry and flow, and the protocol that they are taken under.

depth: the depth metrics of plain tensors. METRICS: every metric's name, unit, direction and description.
"""

from weightsearch.metrics.depth_metrics import depth
from weightsearch.metrics.registry import METRICS

__all__ = ["METRICS", "depth"]
