"""Pairs of a batch's frames and their neighbours, for the terms of self-supervision."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import interpolate

from weightsearch.data.batch import Batch
from weightsearch.errors import ModelError
from weightsearch.geometry.camera import NEAREST, rigid_flow
from weightsearch.geometry.pose import pose_matrix
from weightsearch.geometry.warp import inside, warp
from weightsearch.losses.photometric_error import photometric_error
from weightsearch.losses.term import Prediction


@dataclass(frozen=True)
class Warped:
    """Frames synthesised from their neighbours. error: photometric error, [B, S, 1, H, W]. seen: mask of the pixels
    that the flow keeps inside the neighbour's image, [B, S, 1, H, W] bool."""

    error: Tensor
    seen: Tensor


def neighbours_of(batch: Batch) -> Tensor:
    """The images of a batch's neighbours, [B, S, 3, H, W]. Raises ModelError if it has none."""
    if batch.neighbours is None:
        raise ModelError("data.neighbours: found none; loss terms between frames need offsets, such as [-1, 1]")
    return batch.neighbours.image


def predicted_poses(prediction: Prediction) -> Tensor:
    """The predicted poses from each frame's camera coordinates to its neighbours', [B, S, 4, 4]."""
    return pose_matrix(prediction["pose"])


def each_pair(values: Tensor, pairs: int) -> Tensor:
    """Values of each frame, [B, ...], repeated for each of its pairs, [B S, ...]."""
    return values.repeat_interleave(pairs, dim=0)


def depth_flow(depth: Tensor, poses: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The flow of a static scene, pixels, [B, S, 2, H, W], and the mask of the pixels that are in front of the
    neighbour's camera and inside its image, [B, S, 1, H, W] bool. depth: metres, [B, 1, h, w], resized to the images.
    poses: [B, S, 4, 4]."""
    count, size = poses.shape[1], (batch.image.shape[-2], batch.image.shape[-1])
    depth = each_pair(to_size(depth, size), count)
    flow, far = rigid_flow(depth, poses.flatten(0, 1), each_pair(batch.intrinsics, count))
    seen = inside(flow) & (far > NEAREST)
    return flow.reshape(-1, count, 2, *size), seen.reshape(-1, count, 1, *size)


def warped(flow: Tensor, batch: Batch, alpha: float) -> Warped:
    """The frames synthesised from their neighbours by a flow. flow: pixels, [B, S, 2, H, W]. alpha: share of SSIM in
    the photometric error."""
    images, count = neighbours_of(batch), flow.shape[1]
    steps = flow.flatten(0, 1)
    made = warp(images.flatten(0, 1), steps)
    error = photometric_error(each_pair(batch.image, count), made, alpha)
    shape = (-1, count, 1, *error.shape[-2:])
    return Warped(error.reshape(shape), inside(steps).reshape(shape))


def to_size(values: Tensor, size: tuple[int, int]) -> Tensor:
    """A map [B, C, h, w] resized bilinearly. size: height, width."""
    if tuple(values.shape[-2:]) == size:
        return values
    return interpolate(values, size=size, mode="bilinear", align_corners=False)
