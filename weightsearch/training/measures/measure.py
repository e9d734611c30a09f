"""Interface of the modules of this folder: a measurement taken at every training step."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from weightsearch.losses.criterion import Criterion, CriterionResult
from weightsearch.losses.pixel_masks import Balance
from weightsearch.records import Measurements


class Step(NamedTuple):
    """A training step after its backward pass. scale: loss scale of the backward pass under fp16, else None. valid: the
    batch's mask of pixels with valid depth. balance: None without masks."""

    result: CriterionResult
    scale: Tensor | None
    valid: Tensor
    balance: Balance | None

    def unscaled(self, gradients: Tensor) -> Tensor:
        """Divide gradients or their norms by the loss scale, float64."""
        return (gradients if self.scale is None else gradients / self.scale).double()


class Measure(Protocol):
    """Sums over an epoch's steps. `add` must not wait for the device: sums stay on it until `rows` is called."""

    def __init__(self, criterion: Criterion, device: torch.device) -> None: ...

    def add(self, step: Step) -> None: ...

    def rows(self) -> Measurements:
        """Rows of the epoch by group; groups are in the module's GROUPS. Waits for the device."""
