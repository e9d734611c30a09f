"""Depth metrics (Eigen et al. 2014), accumulated on the device and read once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightsearch.errors import TrialFailure
from weightsearch.metrics.metric import Metric
from weightsearch.metrics.protocol import CROPS, Protocol, crop_mask
from weightsearch.records import Quantity, Size

Region = Literal["all", "static", "moving"]


class Pixels:
    """The pixels of a batch under a protocol. predicted, true: metres, float64, [B, N], clamped and scaled. divisor:
    divisor of relative errors, `true` or `predicted`."""

    def __init__(self, predicted: Tensor, true: Tensor, divisor: Tensor) -> None:
        self.predicted = predicted
        self.true = true
        self.divisor = divisor

    @cached_property
    def difference(self) -> Tensor:
        """Predicted minus true depth, metres."""
        return self.predicted - self.true

    @cached_property
    def log_difference(self) -> Tensor:
        """ln(predicted) - ln(true)."""
        return self.predicted.log() - self.true.log()

    @cached_property
    def ratio(self) -> Tensor:
        """max(predicted / true, true / predicted)."""
        return torch.maximum(self.predicted / self.true, self.true / self.predicted)


def absolute_relative(pixels: Pixels) -> Tensor:
    return pixels.difference.abs() / pixels.divisor


def squared_relative(pixels: Pixels) -> Tensor:
    return pixels.difference**2 / pixels.divisor


def squared(pixels: Pixels) -> Tensor:
    return pixels.difference**2


def squared_log(pixels: Pixels) -> Tensor:
    return pixels.log_difference**2


def log_difference(pixels: Pixels) -> Tensor:
    return pixels.log_difference


def absolute_log(pixels: Pixels) -> Tensor:
    return pixels.log_difference.abs()


def within(factor: float) -> Callable[[Pixels], Tensor]:
    """1 where the ratio of predicted and true depth is below a factor, else 0."""
    return lambda pixels: (pixels.ratio < factor).double()


def the_mean(mean: Tensor) -> Tensor:
    return mean


@dataclass(frozen=True, kw_only=True)
class DepthMetric(Metric):
    """A metric that is a function of means over pixels.

    pixels: functions of Pixels, [B, N] each; the metric depends on their means over an image's valid pixels, or over
    the valid pixels of all images with `aggregation: pooled`. value: the metric as a function of these means, [B] each,
    in their order. region: the pixels that count, if the data set knows the moving objects.
    """

    predicts: Quantity = "depth"
    pixels: tuple[Callable[[Pixels], Tensor], ...]
    value: Callable[..., Tensor] = the_mean
    region: Region = "all"


METRICS: Final = (
    DepthMetric(
        name="abs_rel", unit="", direction="minimize", pixels=(absolute_relative,),
        description="mean of |predicted - true| / true",
    ),
    DepthMetric(
        name="sq_rel", unit="m", direction="minimize", pixels=(squared_relative,),
        description="mean of (predicted - true)^2 / true",
    ),
    DepthMetric(
        name="rmse", unit="m", direction="minimize", pixels=(squared,), value=torch.sqrt,
        description="root mean square of predicted - true",
    ),
    DepthMetric(
        name="rmse_log", unit="", direction="minimize", pixels=(squared_log,), value=torch.sqrt,
        description="root mean square of ln(predicted) - ln(true)",
    ),
    DepthMetric(
        name="log10", unit="", direction="minimize", pixels=(absolute_log,),
        value=lambda mean: mean / math.log(10),
        description="mean of |log10(predicted) - log10(true)|",
    ),
    DepthMetric(
        name="silog", unit="", direction="minimize", pixels=(squared_log, log_difference),
        value=lambda square, mean: 100 * (square - mean**2).clamp(min=0).sqrt(),
        description="100 times the standard deviation of ln(predicted) - ln(true)",
    ),
    *(
        DepthMetric(
            name=f"a{power}", unit="", direction="maximize", pixels=(within(1.25**power),),
            description=f"share of pixels with max(predicted / true, true / predicted) < 1.25^{power}",
        )
        for power in (1, 2, 3)
    ),
    DepthMetric(
        name="abs_rel_static", unit="", direction="minimize", pixels=(absolute_relative,), region="static",
        needs=("moving",), description="abs_rel of the pixels that stand still",
    ),
    DepthMetric(
        name="abs_rel_moving", unit="", direction="minimize", pixels=(absolute_relative,), region="moving",
        needs=("moving",), description="abs_rel of the pixels that move by themselves",
    ),
)  # fmt: skip
# Region -> the functions of pixels of its metrics, each once.
COLUMNS: Final[Mapping[Region, Sequence[Callable[[Pixels], Tensor]]]] = {
    region: list(dict.fromkeys(column for metric in METRICS if metric.region == region for column in metric.pixels))
    for region in get_args(Region)
}
NAMES: Final = tuple(metric.name for metric in METRICS if not metric.needs)

# A user's own metric: predicted and true depth of one image's valid pixels, metres, float64, [N] -> a number.
OwnMetric = Callable[[Tensor, Tensor], float]


@dataclass
class _Sums:
    """The sums over a region of each image of a batch, [B, C], and the number of its pixels, [B]."""

    sums: Tensor
    counts: Tensor


class DepthMetrics:
    """The metrics above under a protocol, and a user's own metrics (name -> function).

    If moving pixels are given, metrics of the static and of the moving pixels are added, each over the images that have
    such pixels; they are left out if no image has any. There, the factor of median scaling is taken from the static
    pixels (from all pixels of an image without static pixels), so that wrong depth of moving objects does not change
    the metrics of the static pixels.

    Images without a valid pixel are left out. A user's own metric is always the mean over the images, independent of
    the protocol's aggregation. `compute` raises TrialFailure for a prediction or a metric that is not finite, and if no
    image had a valid pixel.
    """

    def __init__(
        self, protocol: Protocol, device: torch.device, own: Mapping[str, OwnMetric] = MappingProxyType({})
    ) -> None:
        self.protocol = protocol
        self.device = device
        self.own = own
        self.own_values: dict[str, list[float]] = {name: [] for name in own}
        self.inside: dict[Size, Tensor] = {}  # image size -> mask of the crop
        self.sums: dict[Region, list[_Sums]] = {"all": [], "static": [], "moving": []}
        self.scales: list[Tensor] = []
        self.finite = torch.ones((), dtype=torch.bool, device=device)

    def update(self, prediction: Tensor, truth: Tensor, moving: Tensor | None = None) -> None:
        """Add a batch. prediction, truth: depth in metres, [B, 1, H, W], of any size, to which the crop is adapted;
        truth is 0 where unknown. moving: mask of the pixels of moving objects, [B, 1, H, W] bool. Does not wait for the
        device, except for a user's own metrics."""
        protocol = self.protocol
        mask = (truth > protocol.min_depth) & (truth < protocol.max_depth) & self._crop(truth)
        predicted, true = prediction.detach().double().flatten(1), truth.double().flatten(1)
        mask = mask.flatten(1)
        self.finite &= torch.isfinite(predicted).all()
        pixels, scale = self._pixels(predicted, true, mask, mask)
        self.sums["all"].append(_sums(pixels, mask, COLUMNS["all"]))
        if scale is not None:
            self.scales.append(scale)
        self._update_own(pixels, mask)
        if moving is not None:
            still = mask & ~moving.flatten(1)
            if protocol.median_scaling:
                scaled_by = torch.where(still.any(dim=1, keepdim=True), still, mask)
                pixels, _ = self._pixels(predicted, true, mask, scaled_by)
            self.sums["static"].append(_sums(pixels, still, COLUMNS["static"]))
            self.sums["moving"].append(_sums(pixels, mask & moving.flatten(1), COLUMNS["moving"]))

    def _pixels(self, predicted: Tensor, true: Tensor, mask: Tensor, scaled_by: Tensor) -> tuple[Pixels, Tensor | None]:
        """The pixels in the form that the protocol compares, and each image's factor of median scaling. scaled_by: mask
        of the pixels whose medians give the factor, [B, N] bool."""
        protocol, scale = self.protocol, None
        if protocol.median_scaling:
            scale = _masked_median(true, scaled_by) / _masked_median(predicted, scaled_by)
            self.finite &= ((torch.isfinite(scale) & (scale > 0)) | ~scaled_by.any(dim=1)).all()
            predicted = predicted * scale[:, None]
        predicted = predicted.clamp(protocol.min_depth, protocol.max_depth)
        true = torch.where(mask, true, predicted)  # outside the mask the difference is 0 and no logarithm is infinite
        return Pixels(predicted, true, true if protocol.rel_denominator == "truth" else predicted), scale

    def _update_own(self, pixels: Pixels, mask: Tensor) -> None:
        for name, function in self.own.items():
            for row, valid in enumerate(mask):
                if bool(valid.any()):
                    self.own_values[name].append(function(pixels.predicted[row, valid], pixels.true[row, valid]))

    def _crop(self, truth: Tensor) -> Tensor:
        """The mask of the crop for these images, [H, W]."""
        size = (truth.shape[-2], truth.shape[-1])
        if size not in self.inside:
            self.inside[size] = crop_mask(self.protocol.crop, size, self.device)
        return self.inside[size]

    def compute(self) -> dict[str, float]:
        """All metrics; with median scaling also `scale` and `scale_std`, mean and relative spread of the factors."""
        if not bool(self.finite):
            what = "finite, or have no positive median to scale by" if self.scales else "finite"
            raise TrialFailure(f"the {self.protocol.split} predictions are not {what}")
        result = self._region("all")
        if not result:
            raise TrialFailure(f"no {self.protocol.split} image has a valid pixel under the crop {self.protocol.crop}")
        if self.scales:
            counts = torch.cat([batch.counts for batch in self.sums["all"]])
            scales = torch.cat(self.scales)[counts > 0]
            result["scale"] = float(scales.mean())
            result["scale_std"] = float((scales / scales.mean()).std(unbiased=False))
        result |= {name: fmean(values) for name, values in self.own_values.items() if values}
        result |= self._region("static") | self._region("moving")
        bad = [name for name, value in result.items() if not math.isfinite(value)]
        if bad:
            raise TrialFailure(f"the {self.protocol.split} metric {bad[0]} is not finite")
        return result

    def _region(self, region: Region) -> dict[str, float]:
        """The metrics of a region; none if no image has such pixels."""
        batches = self.sums[region]
        if not batches:
            return {}
        sums, counts = torch.cat([batch.sums for batch in batches]), torch.cat([batch.counts for batch in batches])
        sums, counts = sums[counts > 0], counts[counts > 0]
        if not len(counts):
            return {}
        if self.protocol.aggregation == "pooled":
            sums, counts = sums.sum(dim=0, keepdim=True), counts.sum(dim=0, keepdim=True)
        means = dict(zip(COLUMNS[region], (sums / counts[:, None]).unbind(dim=1), strict=True))
        return {
            metric.name: float(metric.value(*(means[column] for column in metric.pixels)).mean())
            for metric in METRICS
            if metric.region == region
        }


def depth(
    predicted: Tensor | NDArray[Any],
    true: Tensor | NDArray[Any],
    mask: Tensor | NDArray[np.bool_] | None = None,
    *,
    min_depth: float = 1e-3,
    max_depth: float = 80.0,
    crop: str = "none",
    median_scaling: bool = False,
    aggregation: Literal["per_image", "pooled"] = "per_image",
) -> dict[str, float]:
    """The depth metrics (Eigen et al. 2014) of depth maps, by name; METRICS has their units and directions.

    predicted, true: depth in metres, [B, 1, H, W], tensors or arrays; true is 0 where unknown. mask: bool, False at
    further pixels to leave out. min_depth, max_depth: metres; truth outside is left out, predictions are clamped to it.
    crop: none, eigen, garg, kb, nyu or eigen_nyu. median_scaling: scale each prediction by the ratio of the medians;
    adds `scale` and `scale_std`. aggregation: mean of each image's metric, or metric of all pixels. Raises ValueError
    for other shapes or options, TrialFailure for predictions that are not finite and if no pixel is valid.
    """
    predicted, true = _tensor(predicted, np.float64), _tensor(true, np.float64)
    mask = None if mask is None else _tensor(mask, np.bool_).bool()
    given = (predicted, true) if mask is None else (predicted, true, mask)
    if len({tensor.shape for tensor in given}) > 1 or true.ndim != 4 or true.shape[1] != 1:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in given)
        raise ValueError(
            f"predicted, true and mask must have one shape [B, 1, H, W] ([1, 1, H, W] for one image), found {shapes}"
        )
    if crop not in (crops := (*CROPS, "kb")):
        raise ValueError(f"crop: expected {', '.join(crops)}, found {crop!r}")
    if aggregation not in ("per_image", "pooled"):
        raise ValueError(f"aggregation: expected per_image or pooled, found {aggregation!r}")
    size = (true.shape[-2], true.shape[-1])
    protocol = Protocol(
        split="given",
        crop=crop,
        min_depth=min_depth,
        max_depth=max_depth,
        size=size,
        bits=None,
        flip_average=False,
        median_scaling=median_scaling,
        aggregation=aggregation,
        rel_denominator="truth",
    )
    metrics = DepthMetrics(protocol, true.device)
    metrics.update(predicted, true if mask is None else true.masked_fill(~mask, 0))
    return metrics.compute()


def _tensor(values: Tensor | NDArray[Any], kind: type[np.generic]) -> Tensor:
    """A tensor as it is; an array as a copy of another type, whatever its byte order and strides."""
    return values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, dtype=kind))


def _sums(pixels: Pixels, mask: Tensor, columns: Sequence[Callable[[Pixels], Tensor]]) -> _Sums:
    return _Sums(torch.stack([(column(pixels) * mask).sum(dim=1) for column in columns], dim=1), mask.sum(dim=1))


def _masked_median(values: Tensor, mask: Tensor) -> Tensor:
    """The median of each row's valid values, [B] (of an even number: the mean of the middle two); NaN if none."""
    rows = torch.where(mask, values, torch.nan)
    return torch.stack([row.nanquantile(0.5) for row in rows])  # by row: torch takes at most 16 million numbers
