"""Small pictures of what a network predicts, for people: the frame, its true and predicted depth, the error."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate, max_pool2d

from weightsearch.data.dataset import Dataset
from weightsearch.metrics.protocol import Protocol, crop_mask
from weightsearch.records import Picture
from weightsearch.training.batches import batches
from weightsearch.training.device import Precision
from weightsearch.training.evaluate import predicted_depth

LONGEST: Final = 320  # pixels of a picture's longer side
QUALITY: Final = 85
LARGEST_ERROR: Final = 0.5  # |y - ŷ| / y at the end of the colours

# Corners of Matplotlib's viridis and magma: even steps look even, also to the colour-blind and in grey.
VIRIDIS: Final = ("440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725")
MAGMA: Final = ("000004", "180f3d", "440f76", "721f81", "9e2f7f", "cd4071", "f1605d", "fd9668", "feca8d", "fcfdbf")
UNKNOWN: Final = (128, 128, 128)


def draw_pictures(
    network: nn.Module, dataset: Dataset, protocol: Protocol, precision: Precision, count: int
) -> list[Picture]:
    """Four pictures (image, truth, depth, error) of each of `count` frames, evenly spread over the validation split.

    Near is bright; the colours of a frame's depth go from its nearest to its farthest true one (but for 2 % each), the
    same whoever predicts it. Grey where the truth is not known or does not count.
    """
    split = dataset.splits["validation"]
    places = np.unique(np.linspace(0, len(split) - 1, count + 2)[1:-1].round().astype(int))
    truth = dataset.truth("validation", protocol.size)
    counts = crop_mask(protocol.crop, protocol.size, precision.device)
    found: list[Picture] = []
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            for place in places:
                one = split[place : place + 1]
                batch = next(iter(batches(dataset, one, 1, precision.device)))
                with precision.autocast():
                    predicted = predicted_depth(network, batch, protocol)
                true = truth[place : place + 1].to(precision.device)
                usable = (true > protocol.min_depth) & (true < protocol.max_depth) & counts
                predicted = predicted.float().clamp(protocol.min_depth, protocol.max_depth)
                if protocol.median_scaling and bool(usable.any()):
                    predicted = predicted * true[usable].median() / predicted[usable].median()
                error = torch.where(usable, (predicted - true).abs() / true.clamp(min=1e-6), -1)
                known = true[usable] if bool(usable.any()) else predicted.flatten()
                low, high = (float(torch.quantile(known[:: max(1, len(known) // 100_000)], q)) for q in (0.02, 0.98))
                high = max(high, low * (1 + 1e-6))
                name = _below(dataset.frames.names[int(one[0])], dataset.configuration.data.root)
                image = Image.fromarray(np.asarray(dataset.frames.image[int(one[0])]))
                size = _fitted(protocol.size)
                drawn = {
                    "image": (image.resize((size[1], size[0]), Image.Resampling.BILINEAR), 0.0, 1.0),
                    "truth": (_coloured(_spread(torch.where(usable, true, -1), size), low, high, near=True), low, high),
                    "depth": (_coloured(_dense(predicted, size), low, high, near=True), low, high),
                    "error": (_coloured(_spread(error, size), 0.0, LARGEST_ERROR), 0.0, LARGEST_ERROR),
                }
                found += [Picture(int(place), kind, name, lo, hi, _webp(one)) for kind, (one, lo, hi) in drawn.items()]
    finally:
        network.train(was_training)
    return found


def _below(name: str, root: str | None) -> str:
    """A frame's name without the folder of the data set, which is nobody else's business."""
    for folder in () if root is None else (Path(root), Path(root).resolve()):
        if Path(name).is_relative_to(folder):
            return str(Path(name).relative_to(folder))
    return Path(name).name if Path(name).is_absolute() else name


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    """Height, width of a picture of a map of this size."""
    scale = min(1.0, LONGEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _dense(values: torch.Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """A map [1, 1, H, W] at a picture's size."""
    scaled = interpolate(values, size=size, mode="bilinear", align_corners=False)
    found: NDArray[np.float32] = scaled[0, 0].cpu().numpy()
    return found


def _spread(values: torch.Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """A map [1, 1, H, W] that is -1 where nothing is known, at a picture's size. Where little is known, as of a laser,
    its points grow until they can be seen."""
    share = float((values >= 0).float().mean())
    factor = max(1, values.shape[-1] // size[1])
    if share < 0.3:
        values = max_pool2d(values, 2 * factor + 1, stride=1, padding=factor)
    scaled = interpolate(values, size=size, mode="nearest")
    found: NDArray[np.float32] = scaled[0, 0].cpu().numpy()
    return found


def _coloured(values: NDArray[np.float32], low: float, high: float, *, near: bool = False) -> Image.Image:
    """near: the lowest value has the brightest colour."""
    corners = np.array([[int(corner[i : i + 2], 16) for i in (0, 2, 4)] for corner in (VIRIDIS if near else MAGMA)])
    share = np.clip((values - low) / (high - low), 0, 1)
    share = 1 - share if near else share
    steps = np.linspace(0, 1, len(corners))
    colours = np.stack([np.interp(share, steps, corners[:, channel]) for channel in range(3)], axis=-1)
    colours[values < 0] = UNKNOWN
    return Image.fromarray(colours.round().astype(np.uint8))


def _webp(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY)
    return buffer.getvalue()
