"""Files of optical flow: Middlebury's `.flo` (Baker et al. 2011) and KITTI's 16-bit PNG (Menze and Geiger 2015)."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import png
from numpy.typing import NDArray
from PIL import Image

from weightsearch.data.images import check_orientation
from weightsearch.errors import DataError
from weightsearch.files import write_bytes

MAGIC: Final = 202021.25  # its four bytes are PIEH
HEADER: Final = struct.Struct("<fii")  # magic, width, height
UNKNOWN: Final = 1e9  # flow with a component beyond this is unknown
UNKNOWN_WRITTEN: Final = 1e10  # written for unknown flow
ZERO: Final = 2**15  # 16-bit value of a PNG that means no motion
STEPS: Final = 64  # steps per pixel of a PNG's 16-bit values
DEFLATED: Final = 1032  # largest compression ratio of a PNG

PNG_FAULTS: Final = (png.Error, zlib.error, struct.error, LookupError, ValueError)  # errors of the PNG decoder


def read_flow(path: Path) -> NDArray[np.float32]:
    """Read a `.flo` or `.png` file: flow in pixels (x, y), [H, W, 2], both NaN where unknown. Raises DataError that
    names the file."""
    readers = {".flo": _flo, ".png": _png}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: not a file of optical flow, expected {' or '.join(readers)}")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    return reader(path, data)


def write_flo(path: Path, flow: NDArray[np.floating[Any]]) -> None:
    """Write flow, in the form that `read_flow` returns, to a `.flo` file atomically. Raises WriteError."""
    height, width, components = flow.shape
    if components != 2:
        raise ValueError(f"expected flow of shape [H, W, 2], found {list(flow.shape)}")
    values = np.where(_valid(flow)[:, :, None], flow, UNKNOWN_WRITTEN).astype("<f4")
    write_bytes(path, HEADER.pack(MAGIC, width, height) + values.tobytes())


def _flo(path: Path, data: bytes) -> NDArray[np.float32]:
    if len(data) < HEADER.size:
        raise DataError(f"{path}: {len(data)} bytes, a .flo file has at least {HEADER.size}")
    magic, width, height = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise DataError(f"{path}: not a .flo file: it begins with {magic:g} instead of {MAGIC}")
    expected = HEADER.size + 8 * width * height
    if min(width, height) < 1:
        raise DataError(f"{path}: its header says {width}x{height} pixels")
    if len(data) != expected:
        raise DataError(f"{path}: {len(data)} bytes, flow of {width}x{height} pixels has {expected}")
    flow = np.frombuffer(data, dtype="<f4", offset=HEADER.size).reshape(height, width, 2).astype(np.float32)
    flow[~_valid(flow)] = np.nan
    return flow


def _valid(flow: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    return np.asarray((np.abs(flow) <= UNKNOWN).all(axis=2))


def _check_orientation(path: Path, data: bytes) -> None:
    try:
        picture = Image.open(io.BytesIO(data))
    except Exception:  # a decoder that cannot open the image cannot rotate it either
        return
    check_orientation(path, picture)


def _png(path: Path, data: bytes) -> NDArray[np.float32]:
    """Decode KITTI's PNG; its third channel is the mask of known pixels."""
    if data[12:16] != b"IHDR":
        raise DataError(f"{path}: not a PNG, or its beginning is damaged")
    file = io.BytesIO(data)
    try:
        width, height, rows, kind = png.Reader(file=file).read()
        if kind["bitdepth"] != 16 or kind["planes"] != 3:
            channels = f"{kind['planes']} of {kind['bitdepth']}"
            raise DataError(f"{path}: expected 3 channels of 16 bits, as KITTI has optical flow, found {channels}")
        if min(width, height) < 1 or height * (6 * width + 1) > DEFLATED * len(data):  # before memory is allocated
            raise DataError(f"{path}: its header says {width}x{height} pixels, which {len(data)} bytes cannot hold")
        lines = [np.asarray(row, dtype=np.uint16) for row in rows]
    except PNG_FAULTS as error:
        raise DataError(f"{path}: a damaged PNG: {' '.join(str(error).split())}") from None
    _check_orientation(path, data)
    if [line.size for line in lines] != [3 * width] * height:
        raise DataError(f"{path}: a damaged PNG: {len(lines)} rows of pixels, its header says {height}")
    if file.read(1):
        raise DataError(f"{path}: bytes after the image's end")
    values = np.stack(lines).reshape(height, width, 3)
    flow = (values[:, :, :2].astype(np.float32) - np.float32(ZERO)) / np.float32(STEPS)
    flow[values[:, :, 2] == 0] = np.nan
    return flow
