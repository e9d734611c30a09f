"""The sums over an epoch's steps, kept on the device: recording never waits for it."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from weightsearch.errors import TrialFailure
from weightsearch.losses.criterion import Criterion, CriterionResult
from weightsearch.records import TermRecord
from weightsearch.training.balance import BalanceRecorder

NEVER: Final = 2**62


class Recorder:
    """Sums over one epoch of each term's value, contribution and gradient at outputs and heads, and the first step at
    which anything was not finite. without_pixels: of each term, the steps at which it had no pixel. balances: what
    rebalancing did."""

    def __init__(self, criterion: Criterion, device: torch.device) -> None:
        self.names = criterion.names
        self.weights = torch.tensor(criterion.weights, dtype=torch.float64, device=device)
        count = len(self.names)
        self.values = torch.zeros(count, dtype=torch.float64, device=device)
        self.weighted = torch.zeros(count, dtype=torch.float64, device=device)
        self.squares = torch.zeros(count, dtype=torch.float64, device=device)
        self.at_heads = torch.zeros(count, dtype=torch.float64, device=device)
        self.heads_known = True
        self.empty = torch.zeros((), dtype=torch.int64, device=device)
        self.without_pixels = torch.zeros(count, dtype=torch.int64, device=device)
        self.first_bad = torch.full((2 * count + 1,), NEVER, dtype=torch.int64, device=device)
        used = self.weights > 0
        self.watched = torch.cat([used, used, torch.ones(1, dtype=torch.bool, device=device)])
        self.steps = 0
        self.balances = BalanceRecorder(device)

    def add(self, result: CriterionResult, network_gradient: Tensor, scale: Tensor | None, valid: Tensor) -> None:
        """After the backward pass of a step. network_gradient: norm over all parameters. scale: the factor that the
        backward pass started from, under fp16. valid: the batch's mask."""
        gradients = result.output_gradients if scale is None else result.output_gradients / scale
        values = result.values.double()
        self.values += values
        self.weighted += torch.where(self.weights > 0, (self.weights * values).abs(), 0)
        self.squares += gradients.double() ** 2
        at_heads = result.head_gradients
        self.heads_known = self.heads_known and at_heads is not None
        if at_heads is not None:
            self.at_heads += (at_heads if scale is None else at_heads / scale).double() ** 2
        self.empty += ~valid.any()
        self.without_pixels += result.empty
        watched = torch.cat([result.values, gradients, network_gradient.reshape(1)])
        bad = ~torch.isfinite(watched) & self.watched
        self.first_bad = torch.where(bad, self.first_bad.clamp(max=self.steps), self.first_bad)
        self.steps += 1

    def check(self, epoch: int) -> None:
        """Raise TrialFailure that names the term at fault if anything was not finite. Waits for the device."""
        first = self.first_bad.tolist()
        step = min(first)
        if step == NEVER:
            return
        count, position = len(self.names), first.index(step)
        where = f"in epoch {epoch}, step {step + 1}"
        if position < count:
            reason = f"the loss term {self.names[position]!r} is not finite"
        elif position < 2 * count:
            reason = f"the gradient of the loss term {self.names[position - count]!r} is not finite"
        else:
            reason = "the gradient of the network is not finite although every term's gradient at its outputs is"
            if self.heads_known:  # at several outputs norms have several units
                largest = self.names[int(torch.nan_to_num(self.at_heads).argmax())]
                reason += f"; at the heads the largest is that of {largest!r}"
        raise TrialFailure(f"{reason}, {where}")

    def terms(self) -> dict[str, TermRecord]:
        """Means over the epoch. Waits for the device."""
        steps = max(self.steps, 1)
        means = self._means()
        shares = self.weighted / self.weighted.sum().clamp(min=1e-300)
        known = self.heads_known and self.steps > 0
        columns = zip(
            means.tolist(),
            self.weights.tolist(),
            shares.tolist(),
            (self.squares / steps).sqrt().tolist(),
            (self.at_heads / steps).sqrt().tolist() if known else [None] * len(self.names),
            strict=True,
        )
        return {name: TermRecord(*row) for name, row in zip(self.names, columns, strict=True)}

    def train_loss(self) -> float:
        """The weighted sum of the terms' means, without those that never had a pixel; NaN if none ever had. Waits for
        the device."""
        means = torch.where(self.weights > 0, self._means(), torch.nan)
        known = ~means.isnan()
        total = float(torch.where(known, self.weights * means, 0).sum())
        return total if bool(known.any()) or not self.steps else math.nan

    def steps_without_pixels(self) -> dict[str, int]:
        """By term, of those that had no pixel at some step. Waits for the device."""
        counts = zip(self.names, self.without_pixels.tolist(), strict=True)
        return {name: count for name, count in counts if count}

    def _means(self) -> Tensor:
        """Each term's mean over the steps at which it had a pixel, [K]; NaN where there was none."""
        if not self.steps:
            return self.values
        seen = self.steps - self.without_pixels
        return torch.where(seen > 0, self.values / seen, torch.nan)
