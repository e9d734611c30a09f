"""Plausibility of predictions: checks for another unit, and for 1/depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from weightsearch.data.plausible import FLOATS
from weightsearch.data.units import CONVENTIONS, Stored, Unit, convention
from weightsearch.errors import DataError
from weightsearch.metrics.protocol import Protocol, crop_mask

TRUST: Final = "if it is right as it is, --set analysis.check_units=false"
SAMPLED: Final = 400  # most sampled pixels per image
LIKELY: Final = 2.0  # medians that differ by less than this factor are not taken for another unit
NEAR: Final = 1.4  # factor by which the median may differ under another unit
BETTER: Final = 0.5  # another unit must reduce abs_rel to at most this share
# A unit is an error if another unit reduces abs_rel to this share, and abs_rel of a constant depth lies in between.
SURE: Final = 0.25
RELATIVE: Final = 1.5  # medians that differ by this factor may be those of relative depth
ALIKE: Final = 0.5  # median rank correlation from which predictions have the shape of the ground truth
OUTSIDE: Final = (
    0.5  # share of clamped pixels from which predictions with IMPOSSIBLE medians are an error without a unit
)
UNEXPLAINED: Final = 4.0  # medians that differ by this factor give a warning even if no unit explains them
IMPOSSIBLE: Final = 10.0  # medians that differ by this factor, explained by a common unit, are always an error
OPPOSED: Final = -0.5  # median rank correlation below which predictions are 1/depth, an error
DOUBTFUL: Final = -0.2  # median rank correlation below which a warning is given
CLAMPED: Final = 0.25  # share of clamped pixels from which a warning is given, whatever the medians
FEWEST: Final = 30  # pixels of an image needed for a correlation
RARER: Final = 0.05  # penalty per rank in CONVENTIONS, added to the logarithm of the ratio
MISSING: Final = 1e-3  # share of pixels without a prediction from which a warning is given


@dataclass
class Samples:
    """Sampled pixels of every image, among the pixels that the protocol counts. path: file or folder of the
    predictions. inverse: whether they were read as 1/depth. stored: their storage type, None before the first image.
    images: predictions and ground truth."""

    path: Path
    protocol: Protocol
    inverse: bool
    stored: Stored | None = None
    images: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=list)

    def update(self, predicted: Tensor, truth: Tensor, stored: Stored) -> None:
        """Add an image. predicted, truth: metres, [1, 1, H, W], not clamped."""
        self.stored = stored if self.stored in (None, stored) else "floats"
        inside = crop_mask(self.protocol.crop, (truth.shape[-2], truth.shape[-1]), truth.device)
        counted = (truth > self.protocol.min_depth) & (truth < self.protocol.max_depth) & inside
        pixels = torch.nonzero(counted.flatten()).flatten()
        pixels = pixels[:: max(1, -(-len(pixels) // SAMPLED))]
        if len(pixels):
            sampled, true = (values.flatten()[pixels].double().numpy() for values in (predicted, truth))
            self.images.append((sampled, true))

    def agree(self, factor: float | None = 1.0) -> bool:
        """Return True if float predictions have the median of the ground truth times a factor. False for integers,
        which may be in the same wrong unit as the ground truth."""
        if self.stored != "floats" or factor is None or not self.images:
            return False
        return 1 / NEAR < self._median_ratio() / factor < NEAR

    def doubts(self, unit: Unit) -> list[str]:
        """Warnings about the predictions, a line each. unit: unit in which they were read. Raises DataError for
        impossible predictions."""
        if not self.images:
            return []
        lines = []
        missing = float(np.mean(np.concatenate([predicted for predicted, _ in self.images]) <= 0))
        if missing > MISSING and not self.inverse:
            lines.append(
                f"{missing:.1%} of the counted pixels have no prediction (0, or the largest value of an integer type): "
                f"they count as min_depth {self.protocol.min_depth:g} m"
            )
        opposed = self._opposed()
        if opposed is not None:
            return [*lines, opposed]
        if not self.protocol.median_scaling:
            lines += self._ratio(unit)
        return lines

    def _predicted(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Pixels with a prediction, of the images that have such pixels."""
        pairs = [(predicted[predicted > 0], true[predicted > 0]) for predicted, true in self.images]
        return [pair for pair in pairs if len(pair[0])]

    def _opposed(self) -> str | None:
        """Warning about predictions that decrease where the ground truth increases; None if they do not. Raises
        DataError if they clearly do."""
        correlation = self._correlation()
        if correlation > DOUBTFUL:
            return None
        remedy = "leave out --inverse" if self.inverse else "pass --inverse"
        looks = "depth, not 1/depth" if self.inverse else "1/depth or disparity"
        line = (
            f"the predictions fall where the ground truth rises (rank correlation {correlation:.2f}): they look like "
            f"{looks}: {remedy}; {TRUST}"
        )
        if correlation <= OPPOSED:
            raise DataError(f"{self.path}: {line}")
        return line

    def _correlation(self) -> float:
        """Median over images of the rank correlation with the ground truth."""
        correlations = [value for pair in self._predicted() if (value := _rank_correlation(*pair)) is not None]
        return float(np.median(correlations)) if correlations else 0.0

    def _median_ratio(self) -> float:
        """Median over images of the ratio of median prediction to median ground truth."""
        medians = [np.median(predicted) / np.median(true) for predicted, true in self._predicted()]
        return float(np.median(medians)) if medians else 0.0

    def _ratio(self, unit: Unit) -> list[str]:
        """Warning about predictions whose medians differ from the ground truth's. Raises DataError if the unit is
        certainly wrong."""
        ratio = self._median_ratio()
        clamped = self._clamped(1.0)
        head = (
            f"the median prediction is {ratio:.4g} times the median ground truth, and {clamped:.0%} of the counted "
            "predictions are clamped to the depth range"
        )
        best = None if 1 / LIKELY < ratio < LIKELY else self._best(ratio, unit)
        if best is None and 1 / UNEXPLAINED < ratio < UNEXPLAINED:
            if self._relative(ratio):
                return [
                    f"the median prediction is {ratio:.2f} of the ground truth's; relative depth? "
                    f"--set evaluation.median_scaling=true; {TRUST}"
                ]
            if 1 / LIKELY < ratio < LIKELY and clamped > CLAMPED:
                return [f"{head}; {TRUST}"]
            return []  # bad predictions, not another unit
        if best is None:
            line = (
                f"{head}: no usual unit explains that. Predictions without a scale need "
                f"--set evaluation.median_scaling=true; a unit of their own --scale; {TRUST}"
            )
            if clamped > OUTSIDE and not 1 / IMPOSSIBLE < ratio < IMPOSSIBLE:
                raise DataError(f"{self.path}: {line}")
            return [line]
        units, name, factor = best
        now, then = self._abs_rel(1.0), self._abs_rel(factor)
        remedy = f"pass --scale {units:g}"
        line = (
            f"{head}: they look like {name}: {remedy} (abs_rel of a sample of pixels {then:.3g} instead of {now:.3g}); "
            f"{TRUST}"
        )
        certain = then <= SURE * now and then < self._constant() < now
        if certain or not 1 / IMPOSSIBLE < ratio < IMPOSSIBLE:
            raise DataError(f"{self.path}: {line}")
        return [line]

    def _relative(self, ratio: float) -> bool:
        """Return True if predictions look like good relative depth: their order is the ground truth's, and scaling each
        image by the ratio of the medians removes most of the error."""
        if 1 / RELATIVE < ratio < RELATIVE or self._correlation() < ALIKE:
            return False
        scaled = [predicted * (np.median(true) / np.median(predicted)) for predicted, true in self._predicted()]
        true = [true for _, true in self._predicted()]
        return self._error(scaled, true) < BETTER * self._abs_rel(1.0)

    def _constant(self) -> float:
        """abs_rel of a constant depth, the median of all ground truth."""
        true = [true for _, true in self.images]
        median = np.median(np.concatenate(true))
        return self._error([np.full(len(values), median) for values in true], true)

    def _best(self, ratio: float, unit: Unit) -> tuple[float, str, float] | None:
        """Find the unit that explains the ratio best: units per metre, name, and factor for the predictions; None if no
        unit explains it."""
        scale = unit.of(self.stored or "floats")
        candidates: list[tuple[float, float, str, float]] = []
        for rank, (units, name) in enumerate(self._names().items()):
            factor = units / scale if self.inverse else scale / units
            off = abs(float(np.log(ratio * factor))) if ratio > 0 else np.inf
            if off < np.log(NEAR) and self._abs_rel(factor) < BETTER * self._abs_rel(1.0):
                candidates.append((off + RARER * rank, units, name, factor))
        if not candidates:
            return None
        _, units, name, factor = min(candidates)
        return units, name, factor

    def _names(self) -> dict[float, str]:
        """Units per metre -> name, of units that predictions may have, the most common first."""
        share = 1 / self.protocol.max_depth
        if self.inverse:
            return {units: f"{units:g} units per 1/metre" for units in CONVENTIONS if self.stored == "integers"}
        if self.stored == "integers":
            named = {units: convention(units) for units in CONVENTIONS}
            return named | {65535 * share: "shares of max_depth, 0 to 65535"}
        return FLOATS | {share: "shares of max_depth, 0 to 1"}

    def _clamped(self, factor: float) -> float:
        values = factor * np.concatenate([predicted for predicted, _ in self.images])
        return float(np.mean((values < self.protocol.min_depth) | (values > self.protocol.max_depth)))

    def _abs_rel(self, factor: float) -> float:
        return self._error([factor * predicted for predicted, _ in self.images], [true for _, true in self.images])

    def _error(self, predicted: Sequence[NDArray[np.float64]], truth: Sequence[NDArray[np.float64]]) -> float:
        """abs_rel with clamped predictions, mean over images."""
        low, high = self.protocol.min_depth, self.protocol.max_depth
        pairs = zip(predicted, truth, strict=True)
        return float(np.mean([np.mean(np.abs(depth.clip(low, high) - true) / true) for depth, true in pairs]))


def _rank_correlation(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation; None for few pixels or constant values."""
    if len(predicted) < FEWEST or np.ptp(predicted) == 0 or np.ptp(true) == 0:
        return None
    return float(np.corrcoef(rankdata(predicted), rankdata(true))[0, 1])
