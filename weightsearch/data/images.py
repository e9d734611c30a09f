"""Decoding and resizing pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from weightsearch.data.hidden import is_companion
from weightsearch.errors import DataError

Image.MAX_IMAGE_PIXELS = 200_000_000


PICTURES: Final = (".png", ".jpg", ".jpeg")
DEEP: Final = ("I;16", "I;16B", "I")
ORIENTATION: Final = 274  # the EXIF tag
TURNED: Final = {
    2: "mirrored left to right",
    3: "turned by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored left to right, then turned by 270 degrees clockwise",
    6: "turned by 90 degrees clockwise",
    7: "mirrored left to right, then turned by 90 degrees clockwise",
    8: "turned by 270 degrees clockwise",
}


def one_each(paths: Iterable[Path]) -> list[Path]:
    """The pictures among these files, in order, without other systems' hidden companions. Of several of one name, such
    as .jpg and .png, the last in the alphabet: where both are there the .png is what was recorded."""
    pictures = sorted(path for path in paths if path.suffix.lower() in PICTURES and not is_companion(path.name))
    return list({path.with_suffix(""): path for path in pictures}.values())


def read_colour(path: Path) -> NDArray[np.uint8]:
    """[H, W, 3]. Raises DataError for a file that is missing, truncated or no picture of 8 bits."""
    picture = _decode(path)
    if picture.mode in DEEP:
        raise DataError(f"{path}: a grey picture of 16 bits, expected colour; is it the depth?")
    return np.asarray(picture.convert("RGB"), dtype=np.uint8)


def read_uint16(path: Path) -> NDArray[np.uint16]:
    """A single-channel 16-bit picture, [H, W]. Raises DataError for anything else."""
    picture = _decode(path)
    if picture.mode not in DEEP:
        raise DataError(f"{path}: expected a 16-bit depth picture, found mode {picture.mode}")
    values = np.asarray(picture)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise DataError(f"{path}: values {values.min()} to {values.max()} are outside 16 bits")
    return values.astype(np.uint16)


def read_array(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """The numbers of a `.npy` file. mapped: leave them on the disk. Raises DataError for anything else."""
    try:
        values = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from None
    except (ValueError, EOFError):
        raise DataError(f"{path}: not a .npy file of numbers, or a damaged one") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise DataError(f"{path}: expected an array of numbers, found {getattr(values, 'dtype', 'an archive')}")
    return values


def _decode(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            check_orientation(path, picture)
            return picture.copy()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a picture, or its beginning is damaged") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from None


def check_orientation(path: Path, picture: Image.Image) -> None:
    """Raise DataError for a picture whose EXIF or XMP tag asks for it to be turned or mirrored when it is shown: its
    pixels do not lie as those of its depth, and other programs may or may not have turned them."""
    try:
        orientation = picture.getexif().get(ORIENTATION)
    except Exception:  # tags that no program can read turn nothing; damaged pixels are found when they are decoded
        return
    if orientation in TURNED:
        raise DataError(
            f"{path}: its EXIF tag Orientation is {orientation}: shown {TURNED[orientation]} from the pixels as they "
            "are stored. Depth has no such tag, so the two may not fit: write the picture anew with its pixels turned "
            "(Pillow's ImageOps.exif_transpose), or remove the tag if the pixels already lie as the depth does"
        )


def resize_colour(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """[H, W, 3] to size (height, width); area averaging when it shrinks, so that nothing aliases."""
    if image.shape[:2] == size:
        return image
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX), dtype=np.uint8)


def resize_depth(depth: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """[H, W] metres to size (height, width) by the pixel nearest each centre: depths are never mixed over an edge."""
    return np.ascontiguousarray(_nearest(depth, size))


def resize_flow(flow: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """[H, W, 2] pixels (x, y) to size (height, width), in its pixels, by the pixel nearest each centre."""
    scale = np.array([size[1] / flow.shape[1], size[0] / flow.shape[0]], dtype=np.float32)
    return np.ascontiguousarray(_nearest(flow, size) * scale)


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """[H, W] to size (height, width), by the pixel nearest each centre."""
    return np.ascontiguousarray(_nearest(mask, size))


def _nearest(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """[H, W, ...] at the pixels nearest the centres of a picture of another size."""
    if values.shape[:2] == size:
        return values
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for old, new in zip(values.shape[:2], size, strict=True)
    )
    return np.asarray(values[rows[:, None], columns])


def resize_sparse_depth(depth: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """[H, W] metres, 0 where unknown, to size (height, width): each known pixel goes to the one that its centre falls
    on, and of several the nearest is kept, as it hides the others."""
    if depth.shape == size:
        return depth
    rows, columns = np.nonzero(depth)
    values = depth[rows, columns]
    down = ((rows + 0.5) * size[0] / depth.shape[0]).astype(np.int64)
    across = ((columns + 0.5) * size[1] / depth.shape[1]).astype(np.int64)
    return scatter_nearest(down, across, values, size)


def scatter_nearest(
    rows: NDArray[np.int64], columns: NDArray[np.int64], depth: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Depths (metres, above 0) at pixels, [H, W], 0 where there is none; of several at a pixel the nearest."""
    result = np.full(size, np.inf, dtype=np.float32)
    np.minimum.at(result, (rows, columns), depth)
    result[np.isinf(result)] = 0
    return result


def resize_intrinsics(intrinsics: NDArray[Any], old: tuple[int, int], new: tuple[int, int]) -> NDArray[np.float64]:
    """Intrinsics for a resized picture, with pixel centres at whole numbers: x' = (x + 1/2) sx - 1/2."""
    sy, sx = new[0] / old[0], new[1] / old[1]
    scale = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    return scale @ np.asarray(intrinsics, dtype=np.float64)
