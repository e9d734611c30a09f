"""Depth metrics (Eigen et al. 2014), accumulated on the device and read once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightsearch.data.source import Size
from weightsearch.errors import TrialFailure
from weightsearch.metrics.protocol import Protocol, crop_mask

NAMES = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "a1", "a2", "a3")
SECTIONS = ("abs_rel_static", "abs_rel_moving")


class DepthMetrics:
    """abs_rel, sq_rel [m], rmse [m], rmse_log, log10, silog (100 times the standard deviation of ln y^ - ln y) and the
    accuracies a1..a3 = P(max(y/y^, y^/y) < 1.25^i), under a protocol.

    Where the moving pixels are given also abs_rel_static and abs_rel_moving: abs_rel of the pixels that stand still and
    of those that move by themselves, each over the images that have such pixels, and left out if none has. The factor
    of median scaling is there that of what stands still (of the whole image where nothing does): a depth that is wrong
    about what moves must not spoil the measure of what does not.

    Images without a valid pixel are left out. `compute` raises TrialFailure for a prediction that is not finite and if
    no image had a valid pixel.
    """

    def __init__(self, protocol: Protocol, device: torch.device) -> None:
        self.protocol = protocol
        self.device = device
        self.inside: dict[Size, Tensor] = {}  # the crop, by the images' sizes
        self.sums: list[Tensor] = []
        self.counts: list[Tensor] = []
        self.scales: list[Tensor] = []
        self.parts: list[Tensor] = []
        self.finite = torch.ones((), dtype=torch.bool, device=device)

    def update(self, prediction: Tensor, truth: Tensor, moving: Tensor | None = None) -> None:
        """prediction, truth: depth in metres, [B, 1, H, W], of any size: the crop is that of the images themselves;
        truth is 0 where unknown. moving: [B, 1, H, W] bool, the pixels that move by themselves. Does not wait for the
        device."""
        protocol = self.protocol
        mask = (truth > protocol.min_depth) & (truth < protocol.max_depth) & self._crop(truth)
        predicted, true = prediction.detach().double().flatten(1), truth.double().flatten(1)
        mask = mask.flatten(1)
        self.finite &= torch.isfinite(predicted).all()
        if moving is not None:
            self.parts.append(self._part_sums(predicted, true, mask, moving.flatten(1)))
        if protocol.median_scaling:
            scale = _masked_median(true, mask) / _masked_median(predicted, mask)
            self.finite &= ((torch.isfinite(scale) & (scale > 0)) | ~mask.any(dim=1)).all()
            predicted = predicted * scale[:, None]
            self.scales.append(scale)
        predicted = predicted.clamp(protocol.min_depth, protocol.max_depth)
        true = torch.where(mask, true, predicted)  # a difference of 0 outside the mask, and no infinite logarithm
        self.sums.append(_pixel_sums(predicted, true, mask, protocol.rel_denominator))
        self.counts.append(mask.sum(dim=1))

    def _crop(self, truth: Tensor) -> Tensor:
        """The pixels of these images that count, [H, W]."""
        size = (truth.shape[-2], truth.shape[-1])
        if size not in self.inside:
            self.inside[size] = crop_mask(self.protocol.crop, size, self.device)
        return self.inside[size]

    def _part_sums(self, predicted: Tensor, true: Tensor, mask: Tensor, moving: Tensor) -> Tensor:
        """Two rows an image, for its valid pixels that stand still and for those that move: the sum of their relative
        differences and their number, [B, 2, 2]."""
        still, protocol = mask & ~moving, self.protocol
        if protocol.median_scaling:
            scaled_by = torch.where(still.any(dim=1, keepdim=True), still, mask)
            scale = _masked_median(true, scaled_by) / _masked_median(predicted, scaled_by)
            self.finite &= ((torch.isfinite(scale) & (scale > 0)) | ~scaled_by.any(dim=1)).all()
            predicted = predicted * scale[:, None]
        predicted = predicted.clamp(protocol.min_depth, protocol.max_depth)
        true = torch.where(mask, true, predicted)
        relative = (predicted - true).abs() / (true if protocol.rel_denominator == "truth" else predicted)
        parts = torch.stack([still, mask & moving], dim=1)
        return torch.stack([torch.where(parts, relative[:, None], 0).sum(dim=2), parts.sum(dim=2)], dim=2)

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
        if self.parts:
            result |= self._of_parts()
        bad = [name for name, value in result.items() if not math.isfinite(value)]
        if bad:
            raise TrialFailure(f"the {self.protocol.split} metric {bad[0]} is not finite")
        return result

    def _of_parts(self) -> dict[str, float]:
        result: dict[str, float] = {}
        for name, part in zip(SECTIONS, torch.cat(self.parts).unbind(dim=1), strict=True):
            part = part[part[:, 1] > 0]
            if not len(part):
                continue
            if self.protocol.aggregation == "pooled":
                part = part.sum(dim=0, keepdim=True)
            result[name] = float((part[:, 0] / part[:, 1]).mean())
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
