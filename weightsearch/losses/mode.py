"""Estimators of the mode of a distribution. They work on any device without waiting for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import conv1d

BINS: Final = 512
SMOOTHING: Final = 2.0  # bins


def bin_of(values: Tensor, bins: int) -> Tensor:
    """The index of each value's bin, with `bins` equal bins over [-1, 1]; values outside are in the outermost bins."""
    return ((values.clamp(-1, 1) + 1) * (bins / 2)).long().clamp(max=bins - 1)


def histogram(values: Tensor, counted: Tensor) -> Tensor:
    """The peak of a histogram of 512 bins over [-1, 1], smoothed by a Gaussian of 2 bins and interpolated by a
    parabola; NaN if no value counts. values: [N]. counted: mask of the values that count, [N] bool."""
    counts = torch.zeros(BINS, dtype=torch.float64, device=values.device)
    counts = counts.index_add(0, bin_of(values, BINS), counted.double())
    reach = int(4 * SMOOTHING)
    bell = torch.exp(-((torch.arange(-reach, reach + 1, device=values.device) / SMOOTHING) ** 2) / 2).double()
    smooth = conv1d(counts[None, None], (bell / bell.sum())[None, None], padding=reach)[0, 0]
    peak = smooth.argmax()
    # gather instead of an index: an index on the device would wait for the device.
    beside = torch.stack([peak - 1, peak, peak + 1]).clamp(0, BINS - 1)
    left, middle, right = smooth.gather(0, beside).unbind()
    bend = left - 2 * middle + right
    shift = torch.where(bend < 0, 0.5 * (left - right) / bend.clamp(max=-1e-300), 0).clamp(-0.5, 0.5)
    return _or_nan((peak + 0.5 + shift) * (2 / BINS) - 1, counted).to(values.dtype)


def half_sample(values: Tensor, counted: Tensor) -> Tensor:
    """The half-sample mode (Bickel & Frühwirth 2006): repeatedly the shortest interval that contains half of the
    remaining values; NaN if no value counts. values: [N]. counted: mask of the values that count, [N] bool."""
    ordered = values.double().masked_fill(~counted, torch.inf).sort().values
    indices = torch.arange(len(ordered), device=values.device)
    start, left = torch.zeros((), dtype=torch.int64, device=values.device), counted.sum()
    for _ in range(max(1, len(ordered)).bit_length() + 1):
        half = (left + 1) // 2
        ends = (indices + half - 1).clamp(0, len(ordered) - 1)
        allowed = (indices >= start) & (indices + half <= start + left)
        width = torch.where(allowed, ordered.gather(0, ends) - ordered, torch.inf)
        shrinks = left > 2
        start = torch.where(shrinks, width.argmin(), start)
        left = torch.where(shrinks, half, left)
    last = (start + left - 1).clamp(min=0)
    both = ordered.gather(0, torch.stack([start, last]).clamp(max=len(ordered) - 1))
    return _or_nan(both.mean(), counted).to(values.dtype)


def median(values: Tensor, counted: Tensor) -> Tensor:
    """The lower median; NaN if no value counts. values: [N]. counted: mask of the values that count, [N] bool."""
    return values.masked_fill(~counted, torch.nan).nanmedian(dim=0).values  # without dim it waits for a GPU


def _or_nan(value: Tensor, counted: Tensor) -> Tensor:
    return torch.where(counted.any(), value, torch.nan)


ESTIMATORS: Final[Mapping[str, Callable[[Tensor, Tensor], Tensor]]] = MappingProxyType(
    {"histogram": histogram, "half_sample": half_sample, "median": median}
)
