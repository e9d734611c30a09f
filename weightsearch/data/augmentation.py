"""Random augmentation of training batches, on the training device.

Depth, mask, intrinsics, poses and flow are changed consistently with the image; a frame's neighbours are changed like
the frame. The random numbers depend on the given entropy only, so that a resumed training gets the same ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from weightsearch.config.schema import Augmentation
from weightsearch.data.batch import Batch, TrueMotion

# Rows: luma and the two chroma axes of NTSC's YIQ, in which a hue is an angle.
YIQ: Final = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
LUMA: Final = YIQ[0]

Array = NDArray[np.float64]


def augment(batch: Batch, options: Augmentation, entropy: np.random.SeedSequence) -> Batch:
    """Augment a batch: rotate, crop, mirror, then change the colours."""
    if not options.active:
        return batch
    rng = np.random.default_rng(entropy)
    draws = rng.uniform(0, 1, (len(batch), 12))  # always all, so that an option does not change another's draws
    if options.rotation:
        batch = _rotated(batch, np.deg2rad(options.rotation) * (2 * draws[:, 0] - 1))
    if options.crop or options.mirror:
        batch = _cut(batch, options.crop, draws[:, 1:3], draws[:, 3] < options.mirror)
    pictures = _pictures(batch).reshape(-1, 3, *batch.image.shape[-2:])
    return _pictured(batch, _recoloured(pictures, options, draws[:, 4:]))


def _pictures(batch: Batch) -> Tensor:
    """The images of each frame and its neighbours, concatenated, [B, 3 (1 + S), H, W]."""
    beside = batch.neighbours
    return batch.image if beside is None else torch.cat([batch.image, beside.image.flatten(1, 2)], dim=1)


def _pictured(batch: Batch, pictures: Tensor) -> Batch:
    """The batch with other images, in the order of `_pictures`; their leading dimensions may be merged."""
    pictures = pictures.reshape(len(batch), -1, 3, *pictures.shape[-2:])
    image, beside = pictures[:, 0], batch.neighbours
    return replace(batch, image=image, neighbours=beside and replace(beside, image=pictures[:, 1:]))


def _labels(batch: Batch) -> Tensor:
    """The labels of each pixel, [B, C, H, W]: depth, valid, inside the image, moving (if the data set knows it), flow
    (likewise)."""
    depth, motion = batch.depth, batch.motion
    parts = [depth, batch.valid.to(depth.dtype), torch.ones_like(depth)]
    if motion.moving is not None:
        parts.append(motion.moving.to(depth.dtype))
    if motion.flow is not None:
        parts.append(motion.flow.flatten(1, 2))
    return torch.cat(parts, dim=1)


def _labelled(batch: Batch, labels: Tensor, turn: Tensor) -> Batch:
    """The batch with other labels, in the order of `_labels`. turn: the transformation of flow vectors, [B, 2, 2]."""
    depth, valid, seen, rest = labels[:, :1], labels[:, 1:2], labels[:, 2:3], labels[:, 3:]
    moving, flow = batch.motion.moving, batch.motion.flow
    if moving is not None:
        moving, rest = rest[:, :1] > 0.5, rest[:, 1:]
    if flow is not None:
        old = rest.reshape(len(batch), -1, 2, *rest.shape[-2:])
        new = torch.einsum("bij,bsjhw->bsihw", turn, old)
        flow = new.masked_fill((seen < 0.5).unsqueeze(1), torch.nan)
    return replace(batch, depth=depth, valid=valid > 0.5, motion=TrueMotion(flow, moving))


def _turned(batch: Batch, intrinsics: Tensor, turn: Tensor, world: Tensor | None = None) -> Batch:
    """The batch of a camera with these intrinsics whose coordinates are `turn` times the old ones; turn: orthogonal,
    [B, 4, 4]. world: the transformation of the world's coordinates, if any."""
    pose, beside = batch.pose @ turn.mT, batch.neighbours
    if world is not None:
        pose = world @ pose
    if beside is not None:
        beside = replace(beside, pose=turn[:, None] @ beside.pose @ turn[:, None].mT)
    return replace(batch, intrinsics=intrinsics, pose=pose, neighbours=beside)


def _rotated(batch: Batch, angles: Array) -> Batch:
    """Rotate each image about its centre, as if the camera had rolled about its axis; pixels need not be square. The
    image's border is repeated outside; the depth there is unknown."""
    device, (height, width) = batch.image.device, batch.depth.shape[-2:]
    centre = _moved(np.array([(width - 1) / 2, (height - 1) / 2]), batch.intrinsics)
    focal = batch.intrinsics[:, [0, 1], [0, 1]]
    focal = torch.where(focal.isfinite() & (focal > 0), focal, 1.0)  # if unknown, assume square pixels
    roll = _moved(_turns(angles), batch.intrinsics)  # in the camera's coordinates
    back = roll.mT * focal[:, :, None] / focal[:, None, :]  # in pixels, from the new image to the old
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    offsets = torch.stack([columns, rows], dim=-1) - centre
    grid = ((offsets.view(1, -1, 2) @ back.mT) / centre).view(-1, height, width, 2).to(batch.image.dtype)
    pictures = grid_sample(_pictures(batch), grid, mode="bilinear", padding_mode="border", align_corners=True)
    labels = grid_sample(_labels(batch), grid, mode="nearest", padding_mode="zeros", align_corners=True)
    forth = roll * focal[:, :, None] / focal[:, None, :]
    intrinsics = batch.intrinsics.clone()
    offset = (batch.intrinsics[:, :2, 2] - centre)[:, :, None]
    intrinsics[:, :2, 2] = (forth @ offset).squeeze(-1) + centre
    turn = np.tile(np.eye(4), (len(batch), 1, 1))
    turn[:, :2, :2] = _turns(angles)
    return _turned(_labelled(_pictured(batch, pictures), labels, forth), intrinsics, _moved(turn, batch.pose))


def _turns(angles: Array) -> Array:
    """Rotation matrices of angles in radians, [B, 2, 2]."""
    c, s = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)], axis=1)


def _cut(batch: Batch, crop: tuple[int, int] | None, positions: Array, mirrored: NDArray[np.bool_]) -> Batch:
    """Crop a window of each image and mirror some of them. positions: of the windows, as shares in [0, 1) of the
    possible rows and columns, [B, 2]. mirrored: [B] bool."""
    height, width = batch.depth.shape[-2:]
    rows, columns = crop or (height, width)
    top, left = (np.floor(positions * (height - rows + 1, width - columns + 1))).astype(np.int64).T
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
    pictures, labels = (part[index].permute(0, 3, 1, 2) for part in (_pictures(batch), _labels(batch)))
    # The mirrored camera's x axis points the other way, and so does the world's: K' = S K F, T' = F T F.
    sign = np.where(mirrored, -1.0, 1.0)
    shift = np.zeros((len(batch), 2, 1))
    shift[:, 0, 0] = np.where(mirrored, columns - 1 + left, -left)
    shift[:, 1, 0] = -top
    signs, shifts = _moved(sign, batch.intrinsics), _moved(shift, batch.intrinsics)
    intrinsics = batch.intrinsics.clone()
    intrinsics[:, 0, 1:] *= signs[:, None]
    intrinsics[:, :2, 2:] += shifts
    flip = np.tile(np.eye(4), (len(batch), 1, 1))
    flip[:, 0, 0] = sign
    mirror = _moved(flip, batch.pose)
    step = mirror[:, :2, :2].to(batch.image.dtype)
    return _turned(_labelled(_pictured(batch, pictures), labels, step), intrinsics, mirror, mirror)


def _recoloured(image: Tensor, options: Augmentation, draws: Array) -> Tensor:
    """Change the colours; the K images of a frame are changed alike. image: in [0, 1], [B K, 3, H, W], the K images of
    a frame consecutively. draws: [B, 8] in [0, 1)."""
    each = len(image) // len(draws)
    draws = np.repeat(draws, each, axis=0)

    def factors(reach: float, column: int) -> Tensor:
        return _moved(1 + reach * (2 * draws[:, column] - 1), image)[:, None, None, None]

    if options.brightness:
        image = (image * factors(options.brightness, 0)).clamp(0, 1)
    if options.contrast:
        mean = _luma(image[::each]).mean(dim=(2, 3), keepdim=True).repeat_interleave(each, dim=0)  # of the frame
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
    """Matrices that rotate the chroma of RGB by angles in radians, [B, 3, 3]."""
    turn = np.zeros((len(angles), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1:, 1:] = _turns(angles)
    return np.asarray(np.linalg.inv(np.array(YIQ)) @ turn @ np.array(YIQ))


def _orders(draws: Array) -> NDArray[np.int64]:
    """One of the six orders of three channels for each draw, [B, 3]."""
    every = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    return np.asarray(every[np.floor(6 * draws).astype(np.int64)])


def _mixed(image: Tensor, matrices: Array) -> Tensor:
    """Multiply each image's channels by a matrix, in full precision on every device."""
    weights = _moved(matrices, image)
    return sum(
        (weights[:, :, channel, None, None] * image[:, channel : channel + 1] for channel in range(3)),
        start=torch.zeros((), dtype=image.dtype, device=image.device),
    )


def _moved(values: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device, like.dtype, non_blocking=True)
