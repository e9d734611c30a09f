"""Masks of the pixels that single loss terms learn from, beside those that have valid depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.losses.term import Prediction

RIGID_PIXELS: Final = "rigid_pixels"
FLOW_PIXELS: Final = "flow_pixels"


def kept_by(pixels: str, prediction: Prediction, seen: Tensor) -> Tensor:
    """The pixels, bool, [B, S, 1, H, W] or of 1 for H and W, among those that a term could learn from, that a
    mask gives it; all of them without one. pixels: RIGID_PIXELS or FLOW_PIXELS."""
    return seen & prediction[pixels] if pixels in prediction else seen


@dataclass(frozen=True)
class Balance:
    """One batch's, all [B, S, 1, H, W] and without a gradient. delta: the photometric error by depth and pose less that
    by flow. counted: bool, the pixels where both are known. mode: of delta, a scalar; NaN where no pixel is counted.
    rigid_pixels, flow_pixels: bool, which depth and pose, and which flow, learn from. flow_error: photometric, by flow.
    moving: bool, what truly moves, None where the data set does not know. eta: as it was asked for."""

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
    """Makes the masks of a batch. epoch: counted from 1. ground_truth: path and value of the option that uses ground
    truth; None if no option does."""

    @property
    def ground_truth(self) -> tuple[str, str] | None: ...

    def __call__(self, prediction: Prediction, batch: Batch, epoch: int) -> Balance: ...
