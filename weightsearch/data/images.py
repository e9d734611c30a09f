"""Decoding and resizing of images, depth maps and flow."""

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
    """The images among these files, sorted, without hidden companion files. Of several files that differ only in the
    suffix the alphabetically last is taken: of .jpg and .png, the .png is the original."""
    pictures = sorted(path for path in paths if path.suffix.lower() in PICTURES and not is_companion(path.name))
    return list({path.with_suffix(""): path for path in pictures}.values())


def read_colour(path: Path) -> NDArray[np.uint8]:
    """Read an RGB image, [H, W, 3]. Raises DataError for a file that is missing, truncated or not an 8-bit image."""
    picture = _decode(path)
    if picture.mode in DEEP:
        raise DataError(f"{path}: a grey image of 16 bits, expected colour; is it the depth?")
    return np.asarray(picture.convert("RGB"), dtype=np.uint8)


def read_uint16(path: Path) -> NDArray[np.uint16]:
    """Read a single-channel 16-bit image, [H, W]. Raises DataError for anything else."""
    picture = _decode(path)
    if picture.mode not in DEEP:
        raise DataError(f"{path}: expected a 16-bit depth map, found mode {picture.mode}")
    values = np.asarray(picture)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise DataError(f"{path}: values {values.min()} to {values.max()} are outside 16 bits")
    return values.astype(np.uint16)


def read_array(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """Read the numbers of a `.npy` file. mapped: memory-map them. Raises DataError for anything else."""
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
        raise DataError(f"{path}: not an image, or its beginning is damaged") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split()) or type(error).__name__}") from None


def check_orientation(path: Path, picture: Image.Image) -> None:
    """Raise DataError for an image whose EXIF or XMP tag says that it is displayed rotated or mirrored: its pixels may
    not match those of its depth map, since some programs apply the tag and others do not."""
    try:
        orientation = picture.getexif().get(ORIENTATION)
    except Exception:  # unreadable tags rotate nothing; damaged pixels raise when they are decoded
        return
    if orientation in TURNED:
        raise DataError(
            f"{path}: its EXIF tag Orientation is {orientation}: shown {TURNED[orientation]} from the pixels as they "
            "are stored. Depth has no such tag, so the two may not fit: write the image again with its pixels turned "
            "(Pillow's ImageOps.exif_transpose), or remove the tag if the pixels already lie as the depth does"
        )


def resize_colour(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize an image [H, W, 3] to (height, width); downsampling averages areas, so that nothing aliases."""
    if image.shape[:2] == size:
        return image
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX), dtype=np.uint8)


def resize_depth(depth: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize depth [H, W], metres, to (height, width) by nearest neighbours: depths are never mixed over an edge."""
    return np.ascontiguousarray(_nearest(depth, size))


def resize_flow(flow: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize flow [H, W, 2] to (height, width) by nearest neighbours; its values (x, y) are in new pixels."""
    scale = np.array([size[1] / flow.shape[1], size[0] / flow.shape[0]], dtype=np.float32)
    return np.ascontiguousarray(_nearest(flow, size) * scale)


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize a mask [H, W] to (height, width) by nearest neighbours."""
    return np.ascontiguousarray(_nearest(mask, size))


def _nearest(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Values [H, W, ...] resized by nearest neighbours of the pixel centres."""
    if values.shape[:2] == size:
        return values
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
        for old, new in zip(values.shape[:2], size, strict=True)
    )
    return np.asarray(values[rows[:, None], columns])


def resize_sparse_depth(depth: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize sparse depth [H, W], metres, 0 where unknown, to (height, width): each known pixel moves to the new pixel
    that contains its centre; of several the smallest depth remains, since it occludes the others."""
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
    """A depth map [H, W] of depths (metres, above 0) at given pixels, 0 elsewhere; the smallest of several at a
    pixel."""
    result = np.full(size, np.inf, dtype=np.float32)
    np.minimum.at(result, (rows, columns), depth)
    result[np.isinf(result)] = 0
    return result


def resize_intrinsics(intrinsics: NDArray[Any], old: tuple[int, int], new: tuple[int, int]) -> NDArray[np.float64]:
    """Intrinsics of a resized image, with pixel centres at integers: x' = (x + 1/2) sx - 1/2."""
    sy, sx = new[0] / old[0], new[1] / old[1]
    scale = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    return scale @ np.asarray(intrinsics, dtype=np.float64)
