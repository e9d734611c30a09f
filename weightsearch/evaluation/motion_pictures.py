"""Small pictures of motion: optical flow in colours, and the pixels excluded from the loss of depth and pose."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOVES: Final = (213, 94, 0)  # vermilion, which colour-blind readers can distinguish from most images
TINT: Final = 0.6


def flow_picture(flow: NDArray[np.float32], longest: float) -> Image.Image:
    """Draw flow: direction as hue (right red, down green, left cyan, up violet), length as saturation (zero is white);
    unknown flow is grey. flow: pixels (x, y), [2, H, W], NaN where unknown. longest: length in pixels at full
    saturation."""
    valid = np.isfinite(flow).all(axis=0)
    x, y = np.where(valid, flow, 0)
    hue = np.mod(np.arctan2(y, x) / (2 * np.pi), 1)
    length = np.clip(np.hypot(x, y) / max(longest, 1e-6), 0, 1)
    bands = [255 * hue, 255 * length, np.where(valid, 255, 128)]
    bands[1] = np.where(valid, bands[1], 0)
    merged = Image.merge("HSV", [Image.fromarray(band.round().astype(np.uint8)) for band in bands])
    return merged.convert("RGB")


def mask_picture(image: Image.Image, mask: NDArray[np.bool_]) -> Image.Image:
    """Draw an image in grey, with pixels outside the mask in vermilion. mask: [H, W], of any size."""
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float64)
    shown = Image.fromarray(mask).resize(image.size, Image.Resampling.NEAREST)
    tint = TINT * ~np.asarray(shown, dtype=bool)[..., None]
    return Image.fromarray(((1 - tint) * grey + tint * np.array(MOVES)).round().astype(np.uint8))
