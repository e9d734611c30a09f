"""The protocol of a metric: crop, depth range, scaling, aggregation. Metrics of different protocols are not
comparable."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor

from weightsearch.records import EvaluationSize, Size

# Top, bottom, left and right edges, as fractions of height and width.
CROPS: Final[dict[str, tuple[float, float, float, float]]] = {
    "none": (0.0, 1.0, 0.0, 1.0),
    "eigen": (0.3324324, 0.91351351, 0.03594771, 0.96405229),
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "nyu": (45 / 480, 471 / 480, 41 / 640, 601 / 640),  # as BTS has it
    "eigen_nyu": (20 / 480, 460 / 480, 24 / 640, 616 / 640),  # as DenseDepth has it
}
KB_HEIGHT: Final = 352
KB_WIDTH: Final = 1216

# Height and width of the images that a crop was defined for.
MADE_FOR: Final[dict[str, Size]] = {
    "eigen": (375, 1242),
    "garg": (375, 1242),
    "kb": (375, 1242),
    "nyu": (480, 640),
    "eigen_nyu": (480, 640),
}
OTHER: Final = 0.03  # tolerated difference of proportions; KITTI's own sizes differ by 1 %


@dataclass(frozen=True)
class Protocol:
    """The protocol of metrics. crop: see CROPS; kb: the bottom centre 352 x 1216 of an image of 375 x 1242, in
    proportion. min_depth, max_depth: metres; truth outside is left out, predictions are clamped to it. size: height,
    width in pixels at which predictions and truth are compared, of depth and of flow; native: the size of each image's
    own files. bits: bits of quantised outputs. rel_denominator: the divisor of abs_rel and sq_rel. aggregation:
    per_image or pooled over all pixels. truth: name of the ground truth, for a data set that offers several.
    refinement: the test-time refinement, None without one."""

    split: str
    crop: str
    min_depth: float
    max_depth: float
    size: EvaluationSize
    bits: int | None
    flip_average: bool
    median_scaling: bool
    aggregation: str
    rel_denominator: str
    truth: str | None = None
    refinement: str | None = None

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON, without truth and refinement if they are None."""
        plain = asdict(self) | {"size": self.size if self.size == "native" else list(self.size)}
        return {
            name: value for name, value in plain.items() if name not in ("truth", "refinement") or value is not None
        }


def misfit(crop: str, sizes: Iterable[Size]) -> str | None:
    """A warning if the proportions of images differ from those that a crop was defined for; else None. sizes: of the
    images."""
    made_for = MADE_FOR.get(crop)
    if made_for is None:
        return None
    ratio = made_for[1] / made_for[0]
    others = sorted({size for size in sizes if abs(size[1] / size[0] / ratio - 1) > OTHER})
    if not others:
        return None
    height, width = others[0]
    more = f" and {len(others) - 1} more sizes" if len(others) > 1 else ""
    return (
        f"evaluation.crop {crop} is made for images of {made_for[1]}x{made_for[0]} pixels (width x height); this "
        f"data set has {width}x{height}{more}, of other proportions: the crop keeps another part of them, and the "
        "numbers cannot be compared with published ones"
    )


def crop_size(crop: str, size: Size) -> Size:
    """Height and width of a crop. size: the image's height and width."""
    top, bottom, left, right = crop_box(crop, size)
    return bottom - top, right - left


def crop_box(crop: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right edges of a crop in pixels; bottom and right are exclusive. size: the image's height
    and width."""
    height, width = size
    if crop == "kb":
        rows, columns = min(height, round(KB_HEIGHT * height / 375)), min(width, round(KB_WIDTH * width / 1242))
        left = (width - columns) // 2
        return height - rows, height, left, left + columns
    top, bottom, left_share, right_share = CROPS[crop]
    return int(top * height), int(bottom * height), int(left_share * width), int(right_share * width)


def crop_mask(crop: str, size: tuple[int, int], device: torch.device) -> Tensor:
    """The mask of a crop, [H, W] bool."""
    top, bottom, left, right = crop_box(crop, size)
    mask = torch.zeros(size, dtype=torch.bool, device=device)
    mask[top:bottom, left:right] = True
    return mask
