"""Small pictures of predictions: the image, true and predicted depth, the error, flow, the mask."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate, max_pool2d

from weightsearch.config.schema import Configuration
from weightsearch.data.batch import Batch
from weightsearch.data.dataset import Dataset
from weightsearch.data.source import SplitName
from weightsearch.evaluation.evaluate import as_protocol
from weightsearch.evaluation.motion_pictures import flow_picture, mask_picture
from weightsearch.evaluation.scores import knows_depth
from weightsearch.files import write_bytes
from weightsearch.losses.criterion import build_masking
from weightsearch.losses.pixel_masks import Masking
from weightsearch.metrics.protocol import Protocol, crop_mask
from weightsearch.records import Picture
from weightsearch.runtime.batches import batches
from weightsearch.runtime.device import Precision
from weightsearch.runtime.network import predict, resized

LONGEST: Final = 320  # pixels of a picture's longer side
QUALITY: Final = 85
LARGEST_ERROR: Final = 0.5  # |y - ŷ| / y at the end of the colour scale

# Colours of Matplotlib's viridis and magma, perceptually uniform, also for colour-blind readers and in grey.
VIRIDIS: Final = ("440154", "482878", "3e4989", "31688e", "26828e", "1f9e89", "35b779", "6ece58", "b5de2b", "fde725")
MAGMA: Final = ("000004", "180f3d", "440f76", "721f81", "9e2f7f", "cd4071", "f1605d", "fd9668", "feca8d", "fcfdbf")
UNKNOWN: Final = (128, 128, 128)

AFTER_WARMUP: Final = 2**31  # an epoch after any warm-up
Drawn = dict[
    str, tuple[Image.Image, float, float]
]  # kind -> (picture, low, high); low, high: values at the ends of the colour scale


def draw_pictures(
    network: nn.Module,
    dataset: Dataset,
    protocol: Protocol,
    precision: Precision,
    count: int,
    masking: Masking | None = None,
) -> list[Picture]:
    """Draw pictures of `count` frames, evenly spread over the protocol's split: the image; predicted depth, with ground
    truth and error if available; true and predicted flow to the first neighbour, and the pixels that the mask excludes.

    Near is bright. The colours of a frame's depth range from the 2nd to the 98th percentile of its ground truth, the
    same for all networks; without ground truth, of the prediction. Pixels without ground truth, or outside the
    protocol, are grey. Predictions are scaled and clamped as for the metrics.
    """
    name_of_split = cast(SplitName, protocol.split)
    split = dataset.splits[name_of_split]
    positions = _spread_over(len(split), count)
    truth = dataset.truth(name_of_split, protocol.size) if knows_depth(dataset, name_of_split) else None
    pictures: list[Picture] = []
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            for position in positions:
                index = int(split[position])
                batch = next(iter(batches(dataset, split[position : position + 1], 1, precision.device)))
                with precision.autocast():
                    prediction = predict(network, batch)
                    depth = as_protocol(network, prediction, batch, protocol) if "depth" in prediction else None
                image = Image.fromarray(np.asarray(dataset.frames.image[index]))
                true = (
                    None if truth is None else next(truth.parts(slice(position, position + 1)))[1].to(precision.device)
                )
                native = (int(dataset.frames.sizes[index, 0]), int(dataset.frames.sizes[index, 1]))
                size = native if protocol.size == "native" else protocol.size
                height, width = _fitted(size)
                drawn = {"image": (image.resize((width, height), Image.Resampling.BILINEAR), 0.0, 1.0)}
                if depth is not None:
                    drawn |= _of_depth(resized(depth.float(), size), true, protocol)
                drawn |= _of_motion(prediction, batch, drawn["image"][0], masking)
                name = _below(dataset.frames.names[index], dataset.configuration.data.root)
                pictures += [
                    Picture(int(position), kind, name, lo, hi, _webp(picture))
                    for kind, (picture, lo, hi) in drawn.items()
                ]
    finally:
        network.train(was_training)
    return pictures


def _spread_over(frames: int, count: int) -> NDArray[np.int64]:
    """Positions of `count` frames (all, if there are fewer): the middles of stretches of equal length."""
    edges = np.linspace(0, frames, min(count, frames) + 1)
    return ((edges[:-1] + edges[1:] - 1) / 2).round().astype(np.int64)


def _of_depth(predicted: torch.Tensor, true: torch.Tensor | None, protocol: Protocol) -> Drawn:
    """Draw depth, ground truth and error. predicted, true: metres, [1, 1, H, W]."""
    whole = (predicted.shape[-2], predicted.shape[-1])
    size = _fitted(whole)
    if true is None:
        low, high = _ends(predicted.flatten())
        return {"depth": (_coloured(_dense(predicted, size), low, high, near=True), low, high)}
    counts = crop_mask(protocol.crop, whole, predicted.device)
    usable = (true > protocol.min_depth) & (true < protocol.max_depth) & counts
    measured = bool(usable.any())
    if protocol.median_scaling and measured:
        predicted = predicted * (true[usable].median() / predicted[usable].median())
    predicted = predicted.clamp(protocol.min_depth, protocol.max_depth)
    error = torch.where(usable, (predicted - true).abs() / true.clamp(min=1e-6), -1)
    low, high = _ends(true[usable] if measured else predicted.flatten())
    return {
        "truth": (_coloured(_spread(torch.where(usable, true, -1), size), low, high, near=True), low, high),
        "depth": (_coloured(_dense(predicted, size), low, high, near=True), low, high),
        "error": (_coloured(_spread(error, size), 0.0, LARGEST_ERROR), 0.0, LARGEST_ERROR),
    }


def _ends(depth: torch.Tensor) -> tuple[float, float]:
    """The 2nd and 98th percentile of depths."""
    some = depth[:: max(1, len(depth) // 100_000)]
    low, high = (float(torch.quantile(some, q)) for q in (0.02, 0.98))
    return low, max(high, low * (1 + 1e-6))


def _of_motion(
    prediction: Mapping[str, torch.Tensor], batch: Batch, image: Image.Image, masking: Masking | None
) -> Drawn:
    if "flow" not in prediction:
        return {}
    drawn: Drawn = {}
    flow, truth = prediction["flow"][0, 0].float().cpu().numpy(), batch.motion.flow
    seen = flow if truth is None else truth[0, 0].cpu().numpy()
    lengths = np.hypot(*seen)
    longest = float(np.nanquantile(lengths, 0.98)) if np.isfinite(lengths).any() else 1.0
    if truth is not None:
        drawn["true flow"] = (flow_picture(seen, longest).resize(image.size), 0.0, longest)
    drawn["flow"] = (flow_picture(flow, longest).resize(image.size), 0.0, longest)
    if masking is not None:
        mask = masking(prediction, batch, AFTER_WARMUP).rigid_pixels[0, 0, 0].cpu().numpy()
        drawn["left out"] = (mask_picture(image, mask), 0.0, float(1 - mask.mean()))
    return drawn


def _below(name: str, root: str | None) -> str:
    """A frame's name without the dataset's folder, which is private."""
    for folder in () if root is None else (Path(root), Path(root).resolve()):
        if Path(name).is_relative_to(folder):
            return str(Path(name).relative_to(folder))
    return Path(name).name if Path(name).is_absolute() else name


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the picture of a map. size: height, width of the map."""
    scale = min(1.0, LONGEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _dense(values: torch.Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a map [1, 1, H, W] to a picture's size."""
    scaled = interpolate(values, size=size, mode="bilinear", align_corners=False)
    array: NDArray[np.float32] = scaled[0, 0].cpu().numpy()
    return array


def _spread(values: torch.Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a map [1, 1, H, W] that is -1 where unknown to a picture's size. Points of sparse maps (laser) are
    enlarged until they are visible."""
    share = float((values >= 0).float().mean())
    factor = max(1, values.shape[-1] // size[1])
    if share < 0.3:
        values = max_pool2d(values, 2 * factor + 1, stride=1, padding=factor)
    scaled = interpolate(values, size=size, mode="nearest")
    array: NDArray[np.float32] = scaled[0, 0].cpu().numpy()
    return array


def _coloured(values: NDArray[np.float32], low: float, high: float, *, near: bool = False) -> Image.Image:
    """Colour a map; negative values are grey. near: the lowest value has the brightest colour."""
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


def write_pictures(
    configuration: Configuration, folder: Path, count: int
) -> Callable[[nn.Module, Dataset, Protocol, Precision], None]:
    """Make a function that writes a network's pictures to a folder, as `FRAME-KIND.webp`."""

    def look(network: nn.Module, dataset: Dataset, protocol: Protocol, precision: Precision) -> None:
        masking = build_masking(configuration)
        for picture in draw_pictures(network, dataset, protocol, precision, count, masking):
            write_bytes(folder / f"{picture.frame:05d}-{picture.kind.replace(' ', '-')}.webp", picture.content)

    return look
