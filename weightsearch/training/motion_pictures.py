"""Small pictures of motion, for people: optical flow in colours, and which pixels depth and pose do not learn from."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOVES: Final = (213, 94, 0)  # vermilion, which the colour-blind tell from most pictures
TINT: Final = 0.6


def flow_picture(flow: NDArray[np.float32], longest: float) -> Image.Image:
    """Direction as hue (to the right red, down green, to the left cyan, up violet), length as saturation, white where
    nothing moves; grey where it is not known. flow: pixels (x, y), [2, H, W], NaN where unknown. longest: pixels at
    full saturation."""
    known = np.isfinite(flow).all(axis=0)
    x, y = np.where(known, flow, 0)
    hue = np.mod(np.arctan2(y, x) / (2 * np.pi), 1)
    length = np.clip(np.hypot(x, y) / max(longest, 1e-6), 0, 1)
    bands = [255 * hue, 255 * length, np.where(known, 255, 128)]
    bands[1] = np.where(known, bands[1], 0)
    merged = Image.merge("HSV", [Image.fromarray(band.round().astype(np.uint8)) for band in bands])
    return merged.convert("RGB")


def mask_picture(image: Image.Image, kept: NDArray[np.bool_]) -> Image.Image:
    """The picture in grey, with what is not kept in vermilion. kept: [H, W], of any size."""
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float64)
    shown = Image.fromarray(kept).resize(image.size, Image.Resampling.NEAREST)
    tint = TINT * ~np.asarray(shown, dtype=bool)[..., None]
    return Image.fromarray(((1 - tint) * grey + tint * np.array(MOVES)).round().astype(np.uint8))
