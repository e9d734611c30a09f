"""Reading of tensor files (.safetensors, .pth, .ckpt, ...) without running code in them."""

from __future__ import annotations

import argparse
import json
import pickle
import pickletools
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from weightsearch.errors import first_line

NAMED: Final = 4  # names that a message lists
HEAD: Final = 512  # bytes that identify the type of a file
TORCH_MAGIC: Final = 0x1950A86A20F9469CFC6C  # at the beginning of torch.save's format before zip files
FETCH: Final = "fetch the file again"
# Types that are allowed beside tensors and plain values: training programs often store them. None of them runs code.
HARMLESS: Final[tuple[Any, ...]] = (
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    *(type(np.dtype(kind)) for kind in ("bool", "i1", "u1", "i2", "i4", "i8", "f2", "f4", "f8")),
    # NumPy 2 moved these two; each is listed under its old and its new name.
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((np.zeros(1).__reduce__()[0], f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((PurePosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
    *((PureWindowsPath, f"{module}.WindowsPath") for module in ("pathlib", "pathlib._local")),
)


class UnreadableFile(Exception):
    """A file without readable tensors. The message explains its type and what to do, without its path."""


def read_tensors(path: Path) -> Any:
    """Read a file's content, independent of its suffix: usually a mapping with tensors at some depth.

    Raises UnreadableFile, and FileNotFoundError and other OSErrors unchanged.
    """
    head = _head(path)
    size = path.stat().st_size
    if problem := _no_tensors(head, size):
        raise UnreadableFile(problem)
    if head[8:9] == b"{":
        return _safetensors(path, struct.unpack("<Q", head[:8])[0], size)
    return _pickled(path, head)


def named_tensors(content: Any) -> dict[str, Tensor]:
    """Every named tensor at any depth: `state_dict.encoder.conv.weight` -> tensor."""
    return dict(_named(content, ""))


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors with NaN or infinity. A single infinite number is allowed: it may be an unused bound."""

    def damaged(tensor: Tensor) -> bool:
        numbers = tensor.float()
        return bool(torch.isnan(numbers).any() if tensor.numel() == 1 else not torch.isfinite(numbers).all())

    return [name for name, tensor in tensors.items() if tensor.is_floating_point() and damaged(tensor)]


def few(what: str, names: list[str]) -> str:
    """A count with the first names: `2 missing (a, b)`."""
    if not names:
        return f"0 {what}"
    return f"{len(names)} {what} ({listed(names)})"


def listed(names: list[str]) -> str:
    """The first names and the number of the others: `a, b, c, d, and 3 more`."""
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _named(content: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield prefix, content.detach()
    elif isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(key, str):  # an optimizer's state has numbers as keys
                yield from _named(value, f"{prefix}.{key}" if prefix else key)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _no_tensors(head: bytes, size: int) -> str | None:
    """A message about a file that cannot contain tensors, by its first bytes; None if it may contain some."""
    text = head.lstrip().lower()
    if size == 0:
        return f"is empty; {FETCH}"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")):
        return (
            "is a web page, not weights: the download got the page about the file, or a login page; fetch the file "
            "itself (on GitHub the address with /raw/, on Hugging Face the one with /resolve/)"
        )
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        return "is a Git-LFS pointer, which stands in for the file: fetch the file itself with git lfs pull"
    if text.startswith((b'{"', b"{'")) and head[8:9] != b"{":
        return f"is JSON text (perhaps an error message of the download), not weights; {FETCH}"
    packed = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z", b"\x28\xb5\x2f\xfd": "zstd"}
    for magic, kind in packed.items():
        if head.startswith(magic):
            return f"is packed with {kind}; unpack it first"
    if head.startswith(b"\x89HDF"):
        return "is an HDF5 file, as Keras saves weights; convert it to a PyTorch state dict or safetensors first"
    return None


def _safetensors(path: Path, length: int, size: int) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        expected = _expected_size(path, length)
        if expected is not None and expected > size:
            raise UnreadableFile(f"is cut off: it has {size:,} of {expected:,} bytes; {FETCH}") from None
        raise UnreadableFile(f"is damaged ({first_line(error)}); {FETCH}") from None


def _expected_size(path: Path, length: int) -> int | None:
    """The size in bytes of a safetensors file by its header; None if the header cannot be read."""
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(min(length, 100_000_000))
    if len(text) < length:
        return 8 + length
    try:
        header = json.loads(text)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return 8 + length + max(ends, default=0)


def _pickled(path: Path, head: bytes) -> Any:
    """Read a file of torch.save; objects that could run code are rejected."""
    zipped = head.startswith(b"PK")
    try:
        # From an open file: for a path, torch depends on its suffix.
        with torch.serialization.safe_globals(list(HARMLESS)), path.open("rb") as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if problem := _plain_pickle(path, head):
            raise UnreadableFile(problem) from None
        raise UnreadableFile(_refused(path, error, zipped=zipped)) from None
    except OSError:
        raise
    except Exception:  # the zip reader and the unpickler raise errors of many types, with misleading advice
        if problem := _plain_pickle(path, head):
            raise UnreadableFile(problem) from None
        raise UnreadableFile(_damaged(zipped=zipped)) from None


def _plain_pickle(path: Path, head: bytes) -> str | None:
    """A message about the content of a file of pickle.dump and its conversion; None for any other file. Runs no code in
    it."""
    if not head.startswith(b"\x80"):
        return None
    modules: set[str] = set()
    try:
        with path.open("rb") as file:
            for _, argument, _ in pickletools.genops(file):
                if argument == TORCH_MAGIC:
                    return None
                if isinstance(argument, str):
                    modules.add(argument.split(" ")[0].split(".")[0])
    except Exception:  # the file is cut off or damaged
        return None
    load = "pickle.loads(pathlib.Path('FILE').read_bytes())"
    if "torch" in modules:
        return f"is a pickle, not a file of torch.save; convert it where it was made: torch.save({load}, 'weights.pth')"
    if "numpy" not in modules:
        return "is a pickle of Python objects, without tensors or NumPy arrays: it holds no weights"
    convert = f"torch.save({{name: torch.as_tensor(one) for name, one in {load}.items()}}, 'weights.pth')"
    return f"is a pickle of NumPy arrays, not of tensors; convert it where it was made: {convert}"


def _refused(path: Path, error: pickle.UnpicklingError, *, zipped: bool) -> str:
    try:
        kinds = torch.serialization.get_unsafe_globals_in_checkpoint(path) if zipped else []
    except Exception:  # it reads the same damaged file
        kinds = []
    harmless = {entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__name__}" for entry in HARMLESS}
    kinds = [kind for kind in kinds if kind not in harmless]
    if not kinds and "GLOBAL" not in str(error).upper():
        return _damaged(zipped=zipped)
    objects = f" ({', '.join(kinds[:NAMED])})" if kinds else ""
    return (
        f"holds Python objects beside its tensors{objects}, which could run code when they are read; where the file "
        "was made, save the tensors alone: torch.save(model.state_dict(), 'weights.pth')"
    )


def _damaged(*, zipped: bool) -> str:
    if zipped:
        return f"is cut off or damaged; {FETCH}"
    return f"is not a file of tensors, or damaged: expected what torch.save or safetensors wrote; {FETCH}"
