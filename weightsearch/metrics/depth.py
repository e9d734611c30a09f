"""Depth metrics (Eigen et al. 2014), accumulated on the device and read once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightsearch.errors import TrialFailure
from weightsearch.metrics.protocol import Protocol, crop_mask

NAMES = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "a1", "a2", "a3")


class DepthMetrics:
    """abs_rel, sq_rel [m], rmse [m], rmse_log, log10, silog (100 times the standard deviation of ln y^ - ln y) and the
    accuracies a1..a3 = P(max(y/y^, y^/y) < 1.25^i), under a protocol.

    Images without a valid pixel are left out. `compute` raises TrialFailure for a prediction that is not finite and if
    no image had a valid pixel.
    """

    def __init__(self, protocol: Protocol, device: torch.device) -> None:
        self.protocol = protocol
        self.inside = crop_mask(protocol.crop, protocol.size, device)
        self.sums: list[Tensor] = []
        self.counts: list[Tensor] = []
        self.scales: list[Tensor] = []
        self.finite = torch.ones((), dtype=torch.bool, device=device)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """prediction, truth: depth in metres, [B, 1, H, W]; truth is 0 where unknown. Does not wait for the device."""
        protocol = self.protocol
        mask = (truth > protocol.min_depth) & (truth < protocol.max_depth) & self.inside
        predicted, true = prediction.detach().double().flatten(1), truth.double().flatten(1)
        mask = mask.flatten(1)
        self.finite &= torch.isfinite(predicted).all()
        if protocol.median_scaling:
            scale = _masked_median(true, mask) / _masked_median(predicted, mask)
            self.finite &= ((torch.isfinite(scale) & (scale > 0)) | ~mask.any(dim=1)).all()
            predicted = predicted * scale[:, None]
            self.scales.append(scale)
        predicted = predicted.clamp(protocol.min_depth, protocol.max_depth)
        true = torch.where(mask, true, predicted)  # a difference of 0 outside the mask, and no infinite logarithm
        self.sums.append(_pixel_sums(predicted, true, mask, protocol.rel_denominator))
        self.counts.append(mask.sum(dim=1))

    def compute(self) -> dict[str, float]:
        """All metrics; with median scaling also `scale` and `scale_std`, mean and relative spread of the factors."""
        if not bool(self.finite):
            what = "finite, or have no positive median to scale by" if self.scales else "finite"
            raise TrialFailure(f"the {self.protocol.split} predictions are not {what}")
        sums, counts = torch.cat(self.sums), torch.cat(self.counts)
        sums, counts = sums[counts > 0], counts[counts > 0]
        if not len(counts):
            raise TrialFailure(f"no {self.protocol.split} image has a valid pixel under the crop {self.protocol.crop}")
        if self.protocol.aggregation == "pooled":
            sums, counts = sums.sum(dim=0, keepdim=True), counts.sum(dim=0, keepdim=True)
        means = sums / counts[:, None]
        abs_rel, sq_rel, square, square_log, log, log_abs, a1, a2, a3 = means.unbind(dim=1)
        variance = (square_log - log**2).clamp(min=0)
        columns = (
            abs_rel,
            sq_rel,
            square.sqrt(),
            square_log.sqrt(),
            log_abs / math.log(10),
            100 * variance.sqrt(),
            a1,
            a2,
            a3,
        )
        result = {name: float(column.mean()) for name, column in zip(NAMES, columns, strict=True)}
        if self.scales:
            scales = torch.cat(self.scales)[torch.cat(self.counts) > 0]
            result["scale"] = float(scales.mean())
            result["scale_std"] = float((scales / scales.mean()).std(unbiased=False))
        bad = [name for name, value in result.items() if not math.isfinite(value)]
        if bad:
            raise TrialFailure(f"the {self.protocol.split} metric {bad[0]} is not finite")
        return result


def _pixel_sums(predicted: Tensor, true: Tensor, mask: Tensor, denominator: str) -> Tensor:
    """Sums over the valid pixels of each image, [B, 9]."""
    difference = predicted - true
    log_difference = predicted.log() - true.log()
    divisor = true if denominator == "truth" else predicted
    ratio = torch.maximum(predicted / true, true / predicted)
    columns = (
        difference.abs() / divisor,
        difference**2 / divisor,
        difference**2,
        log_difference**2,
        log_difference,
        log_difference.abs(),
        *((ratio < 1.25**power).double() for power in (1, 2, 3)),
    )
    return torch.stack([(column * mask).sum(dim=1) for column in columns], dim=1)


def _masked_median(values: Tensor, mask: Tensor) -> Tensor:
    """The median of each row's valid values, [B] (of an even number: the mean of the middle two); NaN if none."""
    rows = torch.where(mask, values, torch.nan)
    return torch.stack([row.nanquantile(0.5) for row in rows])  # torch takes 16 million numbers at once, no more
