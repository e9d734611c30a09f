"""Cached features of a frozen encoder, computed once and stored beside the frames, for all trials."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import nn

from weightsearch.data.cache import reserve
from weightsearch.data.dataset import Dataset
from weightsearch.runtime.network import encoder_of

LIMIT: Final = 8 * 2**30  # bytes, for all encoders; larger features are not cached but computed at every step
BATCH: Final = 8


def with_features(dataset: Dataset, network: nn.Module, device: torch.device) -> Dataset:
    """Add every frame's features to the dataset, if the network supports it (`from_features`) and they fit on the disk.
    Features are float32, whatever the precision of the training."""
    encoder = encoder_of(network, "freeze_encoder").eval()
    if not callable(getattr(network, "from_features", None)) or any(
        getattr(network, more, False) for more in ("takes_neighbours", "takes_intrinsics")
    ):
        return dataset
    folder = dataset.frames.folder / f"features-{_digest(encoder)}"
    features = _load(folder, len(dataset.frames.depth))
    if features is None:
        with FileLock(f"{folder}.lock"):
            features = _load(folder, len(dataset.frames.depth)) or _build(dataset, encoder, device, folder)
    return replace(dataset, features=features)


def _digest(encoder: nn.Module) -> str:
    """Digest of the encoder's structure, parameters and buffers."""
    digest = hashlib.sha256(repr(encoder).encode())
    for name, value in (*encoder.named_parameters(), *encoder.named_buffers()):  # including buffers that are not stored
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _load(folder: Path, count: int) -> tuple[NDArray[np.float32], ...] | None:
    if not folder.is_dir():
        return None
    levels = sorted(folder.glob("[0-9]*.npy"), key=lambda path: int(path.stem))
    try:
        arrays: list[Any] = [np.load(path, mmap_mode="r") for path in levels]
    except (ValueError, EOFError):  # a damaged file
        return None
    return tuple(arrays) if arrays and all(len(level) == count for level in arrays) else None


def _build(dataset: Dataset, encoder: nn.Module, device: torch.device, folder: Path) -> tuple[NDArray[np.float32], ...]:
    count = len(dataset.frames.depth)
    alone = replace(dataset, offsets=())  # all frames, including those at the ends of videos
    levels: list[Any] = []
    work = Path(tempfile.mkdtemp(prefix="building-", dir=folder.parent))
    try:
        with torch.inference_mode():
            for start in range(0, count, BATCH):
                chosen = np.arange(start, min(start + BATCH, count))
                features = encoder(alone.to_batch(alone.gather(chosen), device).image)
                if not levels:
                    shapes = [(count, *feature.shape[1:]) for feature in features]
                    size = sum(4 * int(np.prod(shape)) for shape in shapes)
                    if size > min(LIMIT, shutil.disk_usage(folder.parent).free // 2):
                        return ()
                    _make_room(folder, size)
                    for number, shape in enumerate(shapes):
                        path = work / f"{number}.npy"
                        levels.append(np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape))
                        reserve(path)
                for level, feature in zip(levels, features, strict=True):
                    level[chosen] = feature.float().cpu().numpy()
        for level in levels:
            level.flush()
        shutil.rmtree(folder, ignore_errors=True)  # damaged features
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _load(folder, count) or ()


def _make_room(folder: Path, size: int) -> None:
    """Remove the oldest features of other encoders until `size` bytes fit under the limit. Trainings that have removed
    files open can continue to use them."""
    others = [other for other in folder.parent.glob("features-*") if other.is_dir() and other != folder]
    others.sort(key=lambda other: other.stat().st_mtime, reverse=True)
    sizes = [sum(file.stat().st_size for file in other.glob("*.npy")) for other in others]
    while others and sum(sizes) + size > LIMIT:
        sizes.pop()
        with suppress(OSError):
            away = Path(tempfile.mkdtemp(prefix="building-", dir=folder.parent))
            others.pop().rename(away)  # atomic: no other process sees incomplete features
            shutil.rmtree(away, ignore_errors=True)
