"""Optical flow metrics, accumulated on the device and read once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from weightsearch.errors import TrialFailure
from weightsearch.geometry.warp import inside
from weightsearch.metrics.metric import Metric
from weightsearch.records import Quantity

OUTLIER_PIXELS: Final = 3.0
OUTLIER_SHARE: Final = 0.05
KIND_EPE: Final = "epe"
KIND_F1: Final = "f1"


@dataclass(frozen=True, kw_only=True)
class FlowMetric(Metric):
    """A metric of optical flow. kind: `epe`, the mean error, or `f1`, the percentage of outliers. visible: only pixels
    that stay inside the image by the true flow. moving: only pixels of moving objects (True) or static pixels (False);
    None for both."""

    predicts: Quantity = "flow"
    kind: str
    visible: bool = False
    moving: bool | None = None

    @property
    def region(self) -> tuple[bool, bool | None]:
        return self.visible, self.moving


def _metrics() -> Iterator[FlowMetric]:
    """Metrics of all pixels, of the visible pixels (KITTI 2012's `noc`), of the static and of the moving pixels."""
    for kind, unit, what in (
        (KIND_EPE, "px", "mean length of predicted - true flow"),
        (KIND_F1, "%", "share of pixels whose flow is wrong by more than 3 px and more than 5 % of its length"),
    ):
        for visible, where in ((False, ""), (True, ", over pixels that stay in the image")):
            for moving, suffix, which in (
                (None, "", ""),
                (False, "_static", ", that stand still"),
                (True, "_moving", ", that move by themselves"),
            ):
                name = kind + ("_noc" if visible else "_all" if kind == KIND_F1 and moving is None else "") + suffix
                yield FlowMetric(
                    name=name, unit=unit, direction="minimize", description=f"{what}{where}{which}", kind=kind,
                    visible=visible, moving=moving, needs=() if moving is None else ("moving",),
                )  # fmt: skip


METRICS: Final = tuple(_metrics())
REGIONS: Final = tuple(dict.fromkeys(metric.region for metric in METRICS))


class FlowMetrics:
    """The metrics above: epe, the length of the difference to the true flow, pixels, and f1, the percentage of pixels
    whose difference is more than 3 pixels and more than 5 % of the true flow's length (Menze and Geiger 2015). Means
    over the known pixels of all pairs. `noc`: only pixels that stay inside the image by the true flow, as in KITTI
    2012; otherwise a few pixels close to the camera that leave the image can dominate the mean.
    """

    def __init__(self, device: torch.device, split: str) -> None:
        self.split = split
        self.sums = torch.zeros((len(REGIONS), 3), dtype=torch.float64, device=device)  # pixels, errors, outliers
        self.finite = torch.ones((), dtype=torch.bool, device=device)

    def update(self, predicted: Tensor, truth: Tensor, moving: Tensor | None = None) -> None:
        """Add a batch. predicted, truth: pixels (x, y), [B, S, 2, H, W]; truth is NaN where unknown. moving: mask of
        the pixels of moving objects, [B, 1, H, W] bool; None if unknown. Does not wait for the device."""
        predicted, truth = predicted.detach().double(), truth.double()
        self.finite &= torch.isfinite(predicted).all()
        valid = torch.isfinite(truth).all(dim=2)
        stays = valid & inside(truth.flatten(0, 1)).reshape(valid.shape)
        error = torch.linalg.vector_norm(predicted - truth, dim=2)
        outlier = (error > OUTLIER_PIXELS) & (error > OUTLIER_SHARE * torch.linalg.vector_norm(truth, dim=2))
        for row, (visible, moves) in enumerate(REGIONS):
            region = stays if visible else valid
            if moves is not None:
                if moving is None:
                    continue
                region = region & (moving if moves else ~moving)
            self.sums[row] += torch.stack([region.sum(), torch.where(region, error, 0).sum(), (region & outlier).sum()])

    def compute(self) -> dict[str, float]:
        """The metrics whose region has pixels with known truth. Raises TrialFailure for a prediction that is not
        finite."""
        if not bool(self.finite):
            raise TrialFailure(f"the {self.split} predictions of flow are not finite")
        sums = dict(zip(REGIONS, self.sums.tolist(), strict=True))
        result: dict[str, float] = {}
        for metric in METRICS:
            pixels, errors, outliers = sums[metric.region]
            if pixels:
                result[metric.name] = errors / pixels if metric.kind == KIND_EPE else 100 * outliers / pixels
        return result
