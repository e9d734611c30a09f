"""Random changes of training batches, on the device they are trained on.

Every change keeps depth, mask, intrinsics and pose true to the picture. The draws come from the entropy that is given
and from nothing else, so that a resumed training sees the same ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from weightsearch.data.batch import Batch
from weightsearch.spec.sections import Augmentation

# Rows: luma and the two chroma axes of NTSC's YIQ, in which a hue is an angle.
YIQ: Final = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
LUMA: Final = YIQ[0]

Array = NDArray[np.float64]


def augment(batch: Batch, options: Augmentation, entropy: np.random.SeedSequence) -> Batch:
    """The batch, changed: rotated, then cut, then mirrored, then in other colours."""
    if not options.active:
        return batch
    rng = np.random.default_rng(entropy)
    draws = rng.uniform(0, 1, (len(batch), 12))  # whatever the options: one does not change another's draws
    if options.rotation:
        batch = _rotated(batch, np.deg2rad(options.rotation) * (2 * draws[:, 0] - 1))
    if options.crop or options.mirror:
        batch = _cut(batch, options.crop, draws[:, 1:3], draws[:, 3] < options.mirror)
    return replace(batch, image=_recoloured(batch.image, options, draws[:, 4:]))


def _rotated(batch: Batch, angles: Array) -> Batch:
    """Each picture turned about its centre, as if the camera had rolled about its axis, whether its pixels are square
    or not. The picture's edge is repeated where nothing was seen; the depth there is unknown."""
    device, (height, width) = batch.image.device, batch.depth.shape[-2:]
    centre = _moved(np.array([(width - 1) / 2, (height - 1) / 2]), batch.intrinsics)
    focal = batch.intrinsics[:, [0, 1], [0, 1]]
    focal = torch.where(focal.isfinite() & (focal > 0), focal, 1.0)  # unknown: square pixels
    roll = _moved(_turns(angles), batch.intrinsics)  # in the camera's coordinates
    back = roll.mT * focal[:, :, None] / focal[:, None, :]  # in pixels, from the new picture to the old
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    offsets = torch.stack([columns, rows], dim=-1) - centre
    grid = ((offsets.view(1, -1, 2) @ back.mT) / centre).view(-1, height, width, 2).to(batch.image.dtype)
    image = grid_sample(batch.image, grid, mode="bilinear", padding_mode="border", align_corners=True)
    both = torch.cat([batch.depth, batch.valid.to(batch.depth.dtype)], dim=1)
    depth, valid = grid_sample(both, grid, mode="nearest", padding_mode="zeros", align_corners=True).chunk(2, dim=1)
    forth = roll * focal[:, :, None] / focal[:, None, :]
    intrinsics, pose = batch.intrinsics.clone(), batch.pose.clone()
    offset = (batch.intrinsics[:, :2, 2] - centre)[:, :, None]
    intrinsics[:, :2, 2] = (forth @ offset).squeeze(-1) + centre
    pose[:, :3, :2] = batch.pose[:, :3, :2] @ _moved(_turns(angles), batch.pose).mT
    return Batch(image, depth, valid > 0.5, intrinsics, pose)


def _turns(angles: Array) -> Array:
    """[B, 2, 2]"""
    c, s = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)], axis=1)


def _cut(batch: Batch, crop: tuple[int, int] | None, places: Array, mirrored: NDArray[np.bool_]) -> Batch:
    """A window of each picture, at a place in [0, 1) of those that it may have, seen in a mirror or not."""
    height, width = batch.depth.shape[-2:]
    rows, columns = crop or (height, width)
    top, left = (np.floor(places * (height - rows + 1, width - columns + 1))).astype(np.int64).T
    across = np.arange(columns)
    x = left[:, None] + np.where(mirrored[:, None], across[::-1], across)
    y = top[:, None] + np.arange(rows)
    device = batch.image.device
    index = (
        torch.arange(len(batch), device=device)[:, None, None],
        slice(None),
        torch.from_numpy(y).to(device, non_blocking=True)[:, :, None],
        torch.from_numpy(x).to(device, non_blocking=True)[:, None, :],
    )
    image, depth, valid = (part[index].permute(0, 3, 1, 2) for part in (batch.image, batch.depth, batch.valid))
    # The mirrored camera's x axis points the other way, and so does the world's: K' = S K F, T' = F T F.
    sign = np.where(mirrored, -1.0, 1.0)
    shift = np.zeros((len(batch), 2, 1))
    shift[:, 0, 0] = np.where(mirrored, columns - 1 + left, -left)
    shift[:, 1, 0] = -top
    signs, shifts = _moved(sign, batch.intrinsics), _moved(shift, batch.intrinsics)
    intrinsics, pose = batch.intrinsics.clone(), batch.pose.clone()
    intrinsics[:, 0, 1:] *= signs[:, None]
    intrinsics[:, :2, 2:] += shifts
    pose[:, 0, :] *= signs[:, None]
    pose[:, :, 0] *= signs[:, None]
    return Batch(image, depth, valid, intrinsics, pose)


def _recoloured(image: Tensor, options: Augmentation, draws: Array) -> Tensor:
    """image: [B, 3, H, W] in [0, 1]. draws: [B, 8] in [0, 1)."""

    def factors(reach: float, column: int) -> Tensor:
        return _moved(1 + reach * (2 * draws[:, column] - 1), image)[:, None, None, None]

    if options.brightness:
        image = (image * factors(options.brightness, 0)).clamp(0, 1)
    if options.contrast:
        mean = _luma(image).mean(dim=(2, 3), keepdim=True)
        image = (mean + (image - mean) * factors(options.contrast, 1)).clamp(0, 1)
    if options.saturation:
        grey = _luma(image)
        image = (grey + (image - grey) * factors(options.saturation, 2)).clamp(0, 1)
    if options.hue:
        image = _mixed(image, _hues(2 * np.pi * options.hue * (2 * draws[:, 3] - 1))).clamp(0, 1)
    if options.gamma:
        image = image ** factors(options.gamma, 4)
    if options.permute_channels:
        orders = np.where(draws[:, 5:6] < options.permute_channels, _orders(draws[:, 6]), np.arange(3))
        image = _mixed(image, np.eye(3)[orders])
    return image


def _luma(image: Tensor) -> Tensor:
    red, green, blue = image.chunk(3, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _hues(angles: Array) -> Array:
    """RGB -> RGB with the chroma turned, [B, 3, 3]."""
    turn = np.zeros((len(angles), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1:, 1:] = _turns(angles)
    return np.asarray(np.linalg.inv(np.array(YIQ)) @ turn @ np.array(YIQ))


def _orders(draws: Array) -> NDArray[np.int64]:
    """One of the six orders of three channels for each draw, [B, 3]."""
    every = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    return np.asarray(every[np.floor(6 * draws).astype(np.int64)])


def _mixed(image: Tensor, matrices: Array) -> Tensor:
    """Each picture's channels times a matrix, in full precision on every device."""
    weights = _moved(matrices, image)
    return sum(
        (weights[:, :, channel, None, None] * image[:, channel : channel + 1] for channel in range(3)),
        start=torch.zeros((), dtype=image.dtype, device=image.device),
    )


def _moved(values: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device, like.dtype, non_blocking=True)
