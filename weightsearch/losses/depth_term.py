"""The base of the supervised depth terms: their pixels, space and precision."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool2d, interpolate

from weightsearch.data.batch import Batch
from weightsearch.losses.term import Prediction

Space = Literal["depth", "reciprocal", "log"]

FLOOR: Final = 1e-3  # metres; smaller predictions are raised to it before a logarithm or a reciprocal, but keep their
# gradient, so that a network that starts with depths below 0 can learn larger ones


class Compared(NamedTuple):
    """Prediction and truth of a term. predicted, true: [B, 1, h, w] in the term's space, float32 or better, both 0
    outside the mask `valid`."""

    predicted: Tensor
    true: Tensor
    valid: Tensor

    @property
    def difference(self) -> Tensor:
        return self.predicted - self.true


def compared(predicted: Tensor, true: Tensor, mask: Tensor | None) -> Compared:
    """Plain tensors in the form of the loss formulas. mask: bool, the valid pixels; None for all. Raises ValueError if
    the shapes differ or are not [B, 1, H, W]."""
    mask = torch.ones_like(true, dtype=torch.bool) if mask is None else mask
    if not predicted.shape == true.shape == mask.shape or true.ndim != 4 or true.shape[1] != 1:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (predicted, true, mask))
        raise ValueError(f"predicted, true and mask must have one shape [B, 1, H, W], found {shapes}")
    precise = torch.promote_types(predicted.dtype, torch.float32)
    return Compared(predicted.to(precise).masked_fill(~mask, 0), true.to(precise).masked_fill(~mask, 0), mask)


class DepthTerm(nn.Module):
    """A term that compares prediction["depth"] with the ground truth.

    space: `depth` in metres, `reciprocal` in 1/m, or `log`, the natural logarithm of metres. Predictions at a lower
    resolution are compared with the ground truth at their pixel centres.
    """

    def __init__(self, *, space: Space = "depth") -> None:
        super().__init__()
        self.space = space

    def compare(self, prediction: Prediction, batch: Batch) -> Compared:
        predicted = prediction["depth"]
        depth, valid = truth_at(batch, predicted)
        precise = torch.promote_types(predicted.dtype, torch.float32)
        return Compared(
            in_space(predicted.to(precise), valid, self.space), in_space(depth.to(precise), valid, self.space), valid
        )


def in_space(depth: Tensor, valid: Tensor, space: Space) -> Tensor:
    """Convert depth in metres to a space; 0, with gradient 0, outside the mask."""
    if space == "depth":
        return depth.masked_fill(~valid, 0)
    inside = depth.masked_fill(~valid, 1)
    positive = torch.where(inside < FLOOR, FLOOR + (inside - inside.detach()), inside)
    return (positive.reciprocal() if space == "reciprocal" else positive.log()).masked_fill(~valid, 0)


def span(space: Space, min_depth: float, max_depth: float) -> float:
    """The largest value of a space for depths in this range (metres); for `log` the difference of the range's ends."""
    low, high = torch.tensor([min_depth, max_depth], dtype=torch.float64)
    return float({"depth": high, "reciprocal": 1 / low, "log": (high / low).log()}[space])


def truth_at(batch: Batch, output: Tensor) -> tuple[Tensor, Tensor]:
    """The batch's depth and mask at the size of a network's output: the value at each pixel's centre or, if that is not
    valid, the smallest valid depth inside the output's pixel. This preserves most of sparse depth, and depths are never
    mixed."""
    size = (output.shape[-2], output.shape[-1])
    if tuple(batch.depth.shape[-2:]) == size:
        return batch.depth, batch.valid
    depth = interpolate(batch.depth, size=size, mode="nearest-exact")
    valid = interpolate(batch.valid.float(), size=size, mode="nearest-exact") > 0.5
    nearness = adaptive_max_pool2d(batch.depth.reciprocal().masked_fill(~batch.valid, 0), size)
    measured = nearness > 0
    return torch.where(valid, depth, nearness.masked_fill(~measured, 1).reciprocal()), valid | measured
