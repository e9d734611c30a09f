"""What a metric means: crop, depth range, scaling, aggregation. A number without its protocol is worthless."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from weightsearch.spec.sections import Configuration

# Rows from, to and columns from, to, as fractions of height and width.
CROPS: Final[dict[str, tuple[float, float, float, float]]] = {
    "none": (0.0, 1.0, 0.0, 1.0),
    "eigen": (0.3324324, 0.91351351, 0.03594771, 0.96405229),
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "nyu": (45 / 480, 471 / 480, 41 / 640, 601 / 640),  # as BTS has it
    "eigen_nyu": (20 / 480, 460 / 480, 24 / 640, 616 / 640),  # as DenseDepth has it
}
KB_HEIGHT: Final = 352
KB_WIDTH: Final = 1216


@dataclass(frozen=True)
class Protocol:
    """crop: see CROPS; kb: the bottom centre 352 x 1216 of an image of 375 x 1242, in proportion.
    min_depth, max_depth: metres; truth outside is left out, predictions are clamped to it.
    size: height, width in pixels at which predictions and truth are compared. bits: of quantised outputs.
    rel_denominator: what abs_rel and sq_rel divide by. aggregation: per_image or pooled over all pixels. refinement:
    how the network was refined on the frames that it predicts, None where it was not."""

    split: str
    crop: str
    min_depth: float
    max_depth: float
    size: tuple[int, int]
    bits: int | None
    flip_average: bool
    median_scaling: bool
    aggregation: str
    rel_denominator: str
    refinement: str | None = None

    def to_plain(self) -> dict[str, Any]:
        """For JSON; refinement only where there was one, as before there was any."""
        plain = asdict(self) | {"size": list(self.size)}
        if self.refinement is None:
            del plain["refinement"]
        return plain


def protocol_of(configuration: Configuration, split: str) -> Protocol:
    """The protocol that a configuration's `evaluation` section stands for."""
    data, evaluation = configuration.data, configuration.evaluation
    low, high = configuration.depth_range
    return Protocol(
        split=split,
        crop=evaluation.crop,
        min_depth=low,
        max_depth=high,
        size=evaluation.size or data.size,
        bits=evaluation.bits,
        flip_average=evaluation.flip_average,
        median_scaling=evaluation.median_scaling,
        aggregation=evaluation.aggregation,
        rel_denominator=evaluation.rel_denominator,
    )


def crop_size(crop: str, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a crop of a picture of this height and width."""
    top, bottom, left, right = crop_box(crop, size)
    return bottom - top, right - left


def crop_box(crop: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The rows from, to and the columns from, to of a crop of a picture of this height and width."""
    height, width = size
    if crop == "kb":
        rows, columns = min(height, round(KB_HEIGHT * height / 375)), min(width, round(KB_WIDTH * width / 1242))
        left = (width - columns) // 2
        return height - rows, height, left, left + columns
    top, bottom, left_share, right_share = CROPS[crop]
    return int(top * height), int(bottom * height), int(left_share * width), int(right_share * width)


def crop_mask(crop: str, size: tuple[int, int], device: torch.device) -> Tensor:
    """The pixels that count, [H, W] bool."""
    top, bottom, left, right = crop_box(crop, size)
    mask = torch.zeros(size, dtype=torch.bool, device=device)
    mask[top:bottom, left:right] = True
    return mask
