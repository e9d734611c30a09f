"""What a module of this folder gives: a measurement that is taken at every step of training."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from weightsearch.losses.criterion import Criterion, CriterionResult
from weightsearch.losses.pixel_masks import Balance
from weightsearch.records import Measurements


class Step(NamedTuple):
    """A step of training after its backward pass. scale: the factor that the backward pass started from, under fp16.
    valid: the batch's mask of pixels with valid depth. balance: None without masks."""

    result: CriterionResult
    scale: Tensor | None
    valid: Tensor
    balance: Balance | None

    def unscaled(self, gradients: Tensor) -> Tensor:
        """Gradients or their norms as they would be without the factor, float64."""
        return (gradients if self.scale is None else gradients / self.scale).double()


class Measure(Protocol):
    """Sums over the steps of one epoch. `add` must not wait for the device: sums stay there until `rows` is called."""

    def __init__(self, criterion: Criterion, device: torch.device) -> None: ...

    def add(self, step: Step) -> None: ...

    def rows(self) -> Measurements:
        """The epoch's rows by group, of groups in the module's GROUPS. Waits for the device."""
