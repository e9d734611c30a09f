"""Optical flow metrics, accumulated on the device and read once."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from weightsearch.errors import TrialFailure
from weightsearch.geometry.warp import inside

OUTLIER_PIXELS: Final = 3.0
OUTLIER_SHARE: Final = 0.05
REGIONS: Final = (
    ("epe", "f1_all"),
    ("epe_noc", "f1_noc"),
    ("epe_static", "f1_static"),
    ("epe_moving", "f1_moving"),
    ("epe_noc_static", "f1_noc_static"),
    ("epe_noc_moving", "f1_noc_moving"),
)


class FlowMetrics:
    """epe: length of the difference to the true flow, pixels. f1_all: percent of the pixels where it is more than 3
    pixels and more than 5 % of the true flow's length (Menze and Geiger 2015). Means over the known pixels of all
    pairs. epe_noc, f1_noc: the same of the pixels that truly stay in the picture, as KITTI 2012 has it: what leaves it
    nobody sees, and close to the camera a few such pixels outweigh all the others. `_static` and `_moving` of all: the
    same of the pixels that stand still and of those that move.
    """

    def __init__(self, device: torch.device, split: str) -> None:
        self.split = split
        self.sums = torch.zeros((len(REGIONS), 3), dtype=torch.float64, device=device)  # pixels, errors, outliers
        self.finite = torch.ones((), dtype=torch.bool, device=device)

    def update(self, predicted: Tensor, truth: Tensor, moving: Tensor | None = None) -> None:
        """predicted, truth: pixels (x, y), [B, S, 2, H, W]; truth is NaN where unknown. moving: [B, 1, H, W] bool, the
        pixels that move by themselves; None where that is not known. Does not wait for the device."""
        predicted, truth = predicted.detach().double(), truth.double()
        self.finite &= torch.isfinite(predicted).all()
        known = torch.isfinite(truth).all(dim=2)
        stays = known & inside(truth.flatten(0, 1)).reshape(known.shape)
        error = torch.linalg.vector_norm(predicted - truth, dim=2)
        outlier = (error > OUTLIER_PIXELS) & (error > OUTLIER_SHARE * torch.linalg.vector_norm(truth, dim=2))
        regions = [known, stays]
        if moving is not None:
            regions += [known & ~moving, known & moving, stays & ~moving, stays & moving]
        found = [(region.sum(), torch.where(region, error, 0).sum(), (region & outlier).sum()) for region in regions]
        self.sums[: len(regions)] += torch.stack([torch.stack(sums) for sums in found])

    def compute(self) -> dict[str, float]:
        """The metrics of which there are pixels, none if no pixel's truth is known. Raises TrialFailure for a
        prediction that is not finite."""
        if not bool(self.finite):
            raise TrialFailure(f"the {self.split} predictions of flow are not finite")
        result: dict[str, float] = {}
        for (epe, f1), (pixels, errors, outliers) in zip(REGIONS, self.sums.tolist(), strict=True):
            if pixels:
                result |= {epe: errors / pixels, f1: 100 * outliers / pixels}
        return result
