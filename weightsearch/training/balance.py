"""The effect of rebalancing over an epoch, kept on the device: recording never waits for it."""

from __future__ import annotations

import math

import torch

from weightsearch.losses.mode import bin_of
from weightsearch.losses.rebalancing import Balance
from weightsearch.records import REBALANCE_BINS, RebalanceRecord


class BalanceRecorder:
    """Sums over one epoch's steps, of the pixels at which both errors are known."""

    def __init__(self, device: torch.device) -> None:
        self.steps = 0
        self.known = False
        self.sums = torch.zeros(len(_SUMS), dtype=torch.float64, device=device)
        self.counts = torch.zeros(2, REBALANCE_BINS, dtype=torch.float64, device=device)

    def add(self, balance: Balance) -> None:
        counted = balance.counted.flatten()
        weight = counted.double()
        delta, error = balance.delta.flatten().double(), balance.flow_error.flatten().double()
        left_out = ~balance.rigid_pixels.flatten() & counted
        below, near = (delta < 0) & counted, ((delta - balance.mode).abs() <= balance.eta) & counted
        moves = torch.zeros_like(counted) if balance.moving is None else balance.moving.flatten() & counted
        columns = {
            "modes": torch.nan_to_num(balance.mode).double(),
            "with_mode": counted.any().double(),
            "pixels": weight.sum(),
            "left_out": left_out.sum(),
            "flow_kept": (balance.flow_pixels.flatten() & counted).sum(),
            "delta": (delta * weight).sum(),
            "square": (delta**2 * weight).sum(),
            "below": below.sum(),
            "error_below": (error * below).sum(),
            "near": near.sum(),
            "error_near": (error * near).sum(),
            "moving": moves.sum(),
            "moving_left_out": (moves & left_out).sum(),
        }
        self.sums += torch.stack([columns[name].double() for name in _SUMS])
        places = bin_of(delta, REBALANCE_BINS)
        self.counts[0] = self.counts[0].index_add(0, places, (counted & ~moves).double())
        self.counts[1] = self.counts[1].index_add(0, places, moves.double())
        self.known = balance.moving is not None
        self.steps += 1

    def record(self) -> RebalanceRecord | None:
        """The epoch's record; None if nothing was rebalanced. Waits for the device."""
        if not self.steps:
            return None
        found = dict(zip(_SUMS, self.sums.tolist(), strict=True))
        static, moving = (tuple(int(count) for count in row) for row in self.counts.tolist())
        mean = _share(found["delta"], found["pixels"])
        return RebalanceRecord(
            mode=_share(found["modes"], found["with_mode"]),
            kept=1 - _share(found["left_out"], found["pixels"]),
            flow_kept=_share(found["flow_kept"], found["pixels"]),
            mean=mean,
            deviation=math.sqrt(max(0.0, _share(found["square"], found["pixels"]) - mean**2)),
            below=_share(found["error_below"], found["below"]),
            near=_share(found["error_near"], found["near"]),
            static=static,
            moving=moving,
            known=self.known,
            precision=_known(found["moving_left_out"], found["left_out"]) if self.known else None,
            recall=_known(found["moving_left_out"], found["moving"]) if self.known else None,
        )


_SUMS = (
    "modes",
    "with_mode",
    "pixels",
    "left_out",
    "flow_kept",
    "delta",
    "square",
    "below",
    "error_below",
    "near",
    "error_near",
    "moving",
    "moving_left_out",
)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _known(part: float, whole: float) -> float | None:
    return part / whole if whole else None
