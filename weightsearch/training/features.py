"""The features of a frozen encoder, computed once and kept beside the frames for every trial that needs them."""

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
from weightsearch.training.network import encoder_of

LIMIT: Final = 8 * 2**30  # bytes, of all encoders together; larger features are computed at every step instead
BATCH: Final = 8


def with_features(dataset: Dataset, network: nn.Module, device: torch.device) -> Dataset:
    """The data set with every frame's features, if the network can go on from features (`from_features`) and they are
    not too many for the disk. They are float32, whatever the precision of the training."""
    encoder = encoder_of(network, "freeze_encoder").eval()
    if not callable(getattr(network, "from_features", None)) or any(
        getattr(network, more, False) for more in ("takes_neighbours", "takes_intrinsics")
    ):
        return dataset
    place = dataset.frames.folder / f"features-{_digest(encoder)}"
    found = _load(place, len(dataset.frames.depth))
    if found is None:
        with FileLock(f"{place}.lock"):
            found = _load(place, len(dataset.frames.depth)) or _build(dataset, encoder, device, place)
    return replace(dataset, features=found)


def _digest(encoder: nn.Module) -> str:
    """A digest of the encoder's structure and of all its numbers."""
    found = hashlib.sha256(repr(encoder).encode())
    for name, value in (*encoder.named_parameters(), *encoder.named_buffers()):  # those that are not stored among them
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def _load(place: Path, count: int) -> tuple[NDArray[np.float32], ...] | None:
    if not place.is_dir():
        return None
    levels = sorted(place.glob("[0-9]*.npy"), key=lambda path: int(path.stem))
    try:
        found: list[Any] = [np.load(path, mmap_mode="r") for path in levels]
    except (ValueError, EOFError):  # a damaged one
        return None
    return tuple(found) if found and all(len(level) == count for level in found) else None


def _build(dataset: Dataset, encoder: nn.Module, device: torch.device, place: Path) -> tuple[NDArray[np.float32], ...]:
    count = len(dataset.frames.depth)
    alone = replace(dataset, offsets=())  # every frame, those at a video's ends too
    levels: list[Any] = []
    work = Path(tempfile.mkdtemp(prefix="building-", dir=place.parent))
    try:
        with torch.inference_mode():
            for start in range(0, count, BATCH):
                chosen = np.arange(start, min(start + BATCH, count))
                features = encoder(alone.to_batch(alone.gather(chosen), device).image)
                if not levels:
                    shapes = [(count, *feature.shape[1:]) for feature in features]
                    size = sum(4 * int(np.prod(shape)) for shape in shapes)
                    if size > min(LIMIT, shutil.disk_usage(place.parent).free // 2):
                        return ()
                    _make_room(place, size)
                    for number, shape in enumerate(shapes):
                        path = work / f"{number}.npy"
                        levels.append(np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape))
                        reserve(path)
                for level, feature in zip(levels, features, strict=True):
                    level[chosen] = feature.float().cpu().numpy()
        for level in levels:
            level.flush()
        shutil.rmtree(place, ignore_errors=True)  # a damaged one
        work.rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _load(place, count) or ()


def _make_room(place: Path, size: int) -> None:
    """Remove the oldest features of other encoders until those of `size` bytes fit under the limit. Trainings that have
    them open keep what they have."""
    others = [other for other in place.parent.glob("features-*") if other.is_dir() and other != place]
    others.sort(key=lambda other: other.stat().st_mtime, reverse=True)
    sizes = [sum(file.stat().st_size for file in other.glob("*.npy")) for other in others]
    while others and sum(sizes) + size > LIMIT:
        sizes.pop()
        with suppress(OSError):
            away = Path(tempfile.mkdtemp(prefix="building-", dir=place.parent))
            others.pop().rename(away)  # at once: nobody finds half of it
            shutil.rmtree(away, ignore_errors=True)
