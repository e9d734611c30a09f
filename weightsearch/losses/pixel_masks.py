"""Masks of the pixels that single loss terms learn from, in addition to the mask of valid depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.term import Prediction

RIGID_PIXELS: Final = "rigid_pixels"
FLOW_PIXELS: Final = "flow_pixels"


def selected_by(pixels: str, prediction: Prediction, seen: Tensor) -> Tensor:
    """The mask of the pixels that a term learns from: the pixels of `seen` inside the named mask, or all of them if the
    prediction has no such mask. pixels: RIGID_PIXELS or FLOW_PIXELS. seen: pixels that the term could learn from,
    [B, S, 1, H, W] bool; H and W may be 1."""
    return seen & prediction[pixels] if pixels in prediction else seen


@dataclass(frozen=True)
class Balance:
    """The masks of a batch and the errors they are based on, [B, S, 1, H, W], without a gradient. delta: photometric
    error by depth and pose minus the photometric error by flow. counted: mask of the pixels where both errors exist.
    mode: the mode of delta, a scalar; NaN if no pixel counts. rigid_pixels: mask of the pixels that depth and pose
    learn from. flow_pixels: mask of the pixels that flow learns from. flow_error: photometric error by flow. moving:
    true mask of moving objects, None if the data set does not know it. eta: the option."""

    delta: Tensor
    counted: Tensor
    mode: Tensor
    rigid_pixels: Tensor
    flow_pixels: Tensor
    flow_error: Tensor
    moving: Tensor | None
    eta: float

    @property
    def masks(self) -> dict[str, Tensor]:
        """The masks that are added to the network's outputs for the loss terms."""
        return {RIGID_PIXELS: self.rigid_pixels, FLOW_PIXELS: self.flow_pixels}


class Masking(Protocol):
    """A callable that computes the masks of a batch. epoch: counted from 1. ground_truth: path and value of the option
    that uses ground truth; None if no option does."""

    @property
    def ground_truth(self) -> tuple[str, str] | None: ...

    def __call__(self, prediction: Prediction, batch: Batch, epoch: int) -> Balance: ...
