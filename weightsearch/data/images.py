"""Decoding and resizing pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from weightsearch.errors import DataError

Image.MAX_IMAGE_PIXELS = 200_000_000


def read_colour(path: Path) -> NDArray[np.uint8]:
    """[H, W, 3]. Raises DataError for a file that is missing, truncated or no picture."""
    return np.asarray(_decode(path, "RGB"), dtype=np.uint8)


def read_uint16(path: Path) -> NDArray[np.uint16]:
    """A single-channel 16-bit picture, [H, W]. Raises DataError for anything else."""
    picture = _decode(path, None)
    if picture.mode not in ("I;16", "I;16B", "I"):
        raise DataError(f"{path}: expected a 16-bit depth picture, found mode {picture.mode}")
    values = np.asarray(picture)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise DataError(f"{path}: values {values.min()} to {values.max()} are outside 16 bits")
    return values.astype(np.uint16)


def _decode(path: Path, mode: str | None) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert(mode) if mode else picture.copy()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a picture, or its beginning is damaged") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from None


def resize_colour(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """[H, W, 3] to size (height, width); area averaging when it shrinks, so that nothing aliases."""
    if image.shape[:2] == size:
        return image
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX), dtype=np.uint8)


def resize_depth(depth: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """[H, W] metres to size (height, width) by the pixel nearest each centre: depths are never mixed over an edge."""
    if depth.shape == size:
        return depth
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for old, new in zip(depth.shape, size, strict=True)
    )
    return np.ascontiguousarray(depth[rows[:, None], columns])


def resize_intrinsics(intrinsics: NDArray[Any], old: tuple[int, int], new: tuple[int, int]) -> NDArray[np.float64]:
    """Intrinsics for a resized picture, with pixel centres at whole numbers: x' = (x + 1/2) sx - 1/2."""
    sy, sx = new[0] / old[0], new[1] / old[1]
    scale = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    return scale @ np.asarray(intrinsics, dtype=np.float64)
