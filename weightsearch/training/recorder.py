"""Recorder of an epoch's steps. Records stay on the device, so that recording never waits for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, cast

import torch
from torch import Tensor

from weightsearch.errors import TrialFailure
from weightsearch.losses.criterion import Criterion
from weightsearch.training.measures.measure import Step
from weightsearch.training.measures.registry import measures
from weightsearch.training.measures.terms import Terms

NO_STEP: Final = 2**62


class Recorder:
    """Measurements of an epoch, and the first step at which a value was not finite."""

    def __init__(self, criterion: Criterion, device: torch.device) -> None:
        self.names = criterion.names
        self.measures = measures(criterion, device)
        self.terms = cast(Terms, self.measures["terms"])
        self.empty = torch.zeros((), dtype=torch.int64, device=device)
        count = len(self.names)
        self.first_bad = torch.full((2 * count + 1,), NO_STEP, dtype=torch.int64, device=device)
        used = self.terms.weights > 0
        self.watched = torch.cat([used, used, torch.ones(1, dtype=torch.bool, device=device)])
        self.steps = 0

    def add(self, step: Step, network_gradient: Tensor) -> None:
        """Record a step after its backward pass. network_gradient: gradient norm over all parameters."""
        for measure in self.measures.values():
            measure.add(step)
        self.empty += ~step.valid.any()
        gradients = step.unscaled(step.result.output_gradients).float()
        watched = torch.cat([step.result.values, gradients, network_gradient.reshape(1)])
        bad = ~torch.isfinite(watched) & self.watched
        self.first_bad = torch.where(bad, self.first_bad.clamp(max=self.steps), self.first_bad)
        self.steps += 1

    def check(self, epoch: int) -> None:
        """Raise TrialFailure, which names the term, if a value was not finite. Waits for the device."""
        first = self.first_bad.tolist()
        step = min(first)
        if step == NO_STEP:
            return
        count, position = len(self.names), first.index(step)
        where = f"in epoch {epoch}, step {step + 1}"
        if position < count:
            reason = f"the loss term {self.names[position]!r} is not finite"
        elif position < 2 * count:
            reason = f"the gradient of the loss term {self.names[position - count]!r} is not finite"
        else:
            reason = "the gradient of the network is not finite although every term's gradient at its outputs is"
            if self.terms.heads_measured:  # not defined if heads have several units
                largest = self.names[int(torch.nan_to_num(self.terms.head_squares).argmax())]
                reason += f"; at the heads the largest is that of {largest!r}"
        raise TrialFailure(f"{reason}, {where}")

    def measurements(self) -> dict[str, Mapping[str, float]]:
        """Rows of the epoch by group. Waits for the device."""
        rows: dict[str, Mapping[str, float]] = {}
        for measure in self.measures.values():
            rows |= measure.rows()
        return rows

    def train_loss(self) -> float:
        """Weighted sum of the terms' means, without terms that never had a valid pixel; NaN if no term had. Waits for
        the device."""
        weights = self.terms.weights
        means = torch.where(weights > 0, self.terms.means(), torch.nan)
        measured = ~means.isnan()
        total = float(torch.where(measured, weights * means, 0).sum())
        return total if bool(measured.any()) or not self.steps else math.nan
