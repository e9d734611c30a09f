"""Measurement of rebalancing depth against flow, see losses/rebalancing.py.

Delta is the photometric error by depth and pose minus the photometric error by flow, at pixels valid in both warps.
"""

from __future__ import annotations

import math
from typing import Final

import torch

from weightsearch.losses.criterion import Criterion
from weightsearch.losses.mode import bin_of
from weightsearch.records import DELTA_BINS, Group, Measurements, joined
from weightsearch.training.measures.measure import Step

REBALANCING: Final = Group(
    "rebalancing",
    ("quantity",),
    "mode: mean of the estimated modes over the steps. kept, flow_kept: shares of the pixels that depth and pose, and "
    "flow, learned from. mean, deviation: of Delta. below, near: mean photometric error by flow where Delta < 0, and "
    "where |Delta - mode| <= eta. moving_known: 1 if the data set knows which pixels move, 0 if not. precision, "
    "recall: of the pixels left out, taken for moving ones, where that is known",
)
DELTA: Final = Group(
    "delta",
    ("kind", "bin"),
    f"Pixels by Delta in {DELTA_BINS} even bins over [-1, 1]: `static` pixels and `moving` ones; all are `static` if "
    "the data set does not know which move. Empty bins have no row",
    "pixels",
)
GROUPS: Final = (REBALANCING, DELTA)
KINDS: Final = ("static", "moving")


class Rebalancing:
    """Sums over an epoch's steps, over the pixels at which both errors are defined."""

    def __init__(self, _: Criterion, device: torch.device) -> None:
        self.steps = 0
        self.has_moving_truth = True
        self.sums = torch.zeros(len(_SUMS), dtype=torch.float64, device=device)
        self.counts = torch.zeros(2, DELTA_BINS, dtype=torch.float64, device=device)

    def add(self, step: Step) -> None:
        if (balance := step.balance) is None:
            return
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
        bins = bin_of(delta, DELTA_BINS)
        self.counts[0] = self.counts[0].index_add(0, bins, (counted & ~moves).double())
        self.counts[1] = self.counts[1].index_add(0, bins, moves.double())
        self.has_moving_truth &= balance.moving is not None
        self.steps += 1

    def rows(self) -> Measurements:
        if not self.steps:
            return {}
        sums = dict(zip(_SUMS, self.sums.tolist(), strict=True))
        mean = _share(sums["delta"], sums["pixels"])
        quantities = {
            "mode": _share(sums["modes"], sums["with_mode"]),
            "kept": 1 - _share(sums["left_out"], sums["pixels"]),
            "flow_kept": _share(sums["flow_kept"], sums["pixels"]),
            "mean": mean,
            "deviation": math.sqrt(max(0.0, _share(sums["square"], sums["pixels"]) - mean**2)),
            "below": _share(sums["error_below"], sums["below"]),
            "near": _share(sums["error_near"], sums["near"]),
            "moving_known": float(self.has_moving_truth),
        }
        if self.has_moving_truth:
            quantities["precision"] = _share(sums["moving_left_out"], sums["left_out"])
            quantities["recall"] = _share(sums["moving_left_out"], sums["moving"])
        counts = {
            joined(kind, str(index)): count
            for kind, row in zip(KINDS, self.counts.tolist(), strict=True)
            for index, count in enumerate(row)
            if count
        }
        return {REBALANCING.name: quantities, DELTA.name: counts}


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
