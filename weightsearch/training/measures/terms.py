"""Value, contribution and gradient (at the network's outputs and heads) of each loss term."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from weightsearch.losses.criterion import Criterion
from weightsearch.records import HEADS, TERM_GROUPS, Group, Measurements, joined
from weightsearch.training.measures.measure import Step

VALUE, WEIGHT, CONTRIBUTION, OUTPUT_GRADIENT = TERM_GROUPS
GRADIENT: Final = Group(
    "gradient",
    ("place", "term"),
    "Norm of the weighted term's gradient at a place, `heads` or `shared`: the root mean square over all steps, or the "
    "mean over the steps with a probe",
)
WITHOUT_PIXELS: Final = Group("without_pixels", ("term",), "Steps at which the term had no pixel to learn from")
GROUPS: Final = (
    Group(VALUE, ("term",), "Mean of the unweighted term over the steps at which it had a pixel", "the term's own"),
    Group(WEIGHT, ("term",), "Weight of the term"),
    Group(CONTRIBUTION, ("term",), "Share of the sum of all |weight x value|, in [0, 1]"),
    Group(
        OUTPUT_GRADIENT,
        ("term",),
        "Root mean square over the steps of the norm of the weighted term's gradient at the network's outputs, each "
        "output a variable of its own. Of several outputs the norm mixes units",
    ),
    GRADIENT,
    WITHOUT_PIXELS,
)


class Terms:
    """Sums over an epoch's steps by term, [K]."""

    def __init__(self, criterion: Criterion, device: torch.device) -> None:
        self.names = criterion.names
        self.weights = torch.tensor(criterion.weights, dtype=torch.float64, device=device)
        self.values = torch.zeros_like(self.weights)
        self.weighted = torch.zeros_like(self.weights)
        self.squares = torch.zeros_like(self.weights)
        self.head_squares = torch.zeros_like(self.weights)
        self.without_pixels = torch.zeros(len(self.names), dtype=torch.int64, device=device)
        self.heads_measured = True
        self.steps = 0

    def add(self, step: Step) -> None:
        values = step.result.values.double()
        self.values += values
        self.weighted += torch.where(self.weights > 0, (self.weights * values).abs(), 0)
        self.squares += step.unscaled(step.result.output_gradients) ** 2
        at_heads = step.result.head_gradients
        self.heads_measured = self.heads_measured and at_heads is not None
        if at_heads is not None:
            self.head_squares += step.unscaled(at_heads) ** 2
        self.without_pixels += step.result.empty
        self.steps += 1

    def rows(self) -> Measurements:
        steps = max(self.steps, 1)
        shares = self.weighted / self.weighted.sum().clamp(min=1e-300)
        groups = {
            VALUE: self._by_term(self.means()),
            WEIGHT: self._by_term(self.weights),
            CONTRIBUTION: self._by_term(shares),
            OUTPUT_GRADIENT: self._by_term((self.squares / steps).sqrt()),
        }
        if self.heads_measured and self.steps:
            norms = self._by_term((self.head_squares / steps).sqrt())
            groups[GRADIENT.name] = {joined(HEADS, name): norm for name, norm in norms.items()}
        counts = {name: count for name, count in self._by_term(self.without_pixels).items() if count}
        return groups | ({WITHOUT_PIXELS.name: counts} if counts else {})

    def means(self) -> Tensor:
        """Mean of each term over the steps with a valid pixel, [K]; NaN without such a step."""
        if not self.steps:
            return self.values
        seen = self.steps - self.without_pixels
        return torch.where(seen > 0, self.values / seen, torch.nan)

    def _by_term(self, column: Tensor) -> dict[str, float]:
        return dict(zip(self.names, column.tolist(), strict=True))
