"""The description of a metric."""

from __future__ import annotations

from dataclasses import dataclass

from weightsearch.records import Direction, Quantity


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of a split.

    name: in study files, databases and reports. unit: empty for a dimensionless metric. direction: whether smaller or
    larger values are better. description: one line. predicts: the prediction that it measures; its ground truth is also
    needed. needs: further ground truth, such as `moving`, the mask of moving objects.
    """

    name: str
    unit: str
    direction: Direction
    description: str
    predicts: Quantity
    needs: tuple[Quantity, ...] = ()

    @property
    def ground_truth(self) -> frozenset[Quantity]:
        """All ground truth that the metric needs."""
        return frozenset((self.predicts, *self.needs))
