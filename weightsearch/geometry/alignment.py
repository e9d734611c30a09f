"""Direct image alignment: the camera motion under which two images agree best, given depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from weightsearch.geometry.camera import NEAREST, back_project, project
from weightsearch.geometry.pose import axis_angle, axis_angle_matrix
from weightsearch.geometry.rigid import Motion, least_squares, median_of, slopes, thinned
from weightsearch.geometry.warp import sample, within

PIXELS: Final = 8000  # sampled pixels of a level, at most
LEVELS: Final = (2, 1)  # downsampling factors, coarse first
STEPS: Final = 10  # Gauss-Newton steps at each level
SPREAD: Final = 1.5  # scale of the Cauchy distribution over the median difference
DARKEST: Final = 2e-3  # smallest scale of brightness differences; brightness is in [0, 1]
FLOOR: Final = 1e-6  # added to the normal equations' diagonal: without texture the motion stays as it is


@dataclass(frozen=True)
class _Level:
    """A level of the image pyramid: N pairs of images with P sampled pixels each. bright: brightness of the first
    image, [N, P]. other: the neighbour's brightness and its slopes along x and y, [N, 3, H, W]. points: in the first
    camera's coordinates, in units of their median depth, [N, 3, P]. counts: mask of the pixels with depth, [N, P] bool.
    intrinsics: [N, 3, 3]."""

    bright: Tensor
    other: Tensor
    points: Tensor
    counts: Tensor
    intrinsics: Tensor


@dataclass(frozen=True)
class _Compared:
    """A level of the image pyramid under a motion. points: in the other camera's coordinates, [N, 3, P]. difference: of
    the brightness, [N, P]. slopes: derivatives of the neighbour's brightness by x and y in pixels, [N, 2, P]. counts:
    mask of the pixels that lie in both images, [N, P] bool.
    """

    points: Tensor
    difference: Tensor
    slopes: Tensor
    counts: Tensor


def aligned_motion(image: Tensor, neighbour: Tensor, depth: Tensor, intrinsics: Tensor, start: Tensor) -> Tensor:
    """Rotation vector (radians) and translation (metres, in the scale of depth) from a camera's coordinates to the
    other's, [B, 6]. image, neighbour: RGB in [0, 1], [B, 3, H, W]. depth: metres, [B, 1, H, W]; 0 where unknown.
    intrinsics: pixels, [B, 3, 3]. start: initial motion in the result's form, accurate to a few pixels, [B, 6].

    Direct image alignment (Lucas and Kanade 1981; Engel, Koltun and Cremers 2018): Gauss-Newton steps over the
    brightness of all pixels, at half and then at full size. Robust weights of a Cauchy distribution, with the scale of
    the median difference, suppress moving objects. Pixels without texture have little influence; optical flow, which
    must give a value there too, is less exact. The brightness of the whole image may differ by a constant. If the steps
    at a size do not reduce the difference of the images, the motion stays as it was.

    Backpropagates through one more step, with its weights and slopes held constant, into depth alone.
    """
    with torch.autocast(depth.device.type, enabled=False):
        valid = depth.isfinite() & (depth > 0)
        depth = torch.where(valid, depth, 0).float()
        unit = median_of(depth.detach().flatten(1), valid.flatten(1)).nan_to_num(1.0)
        start = start.detach().float()
        motion = Motion(axis_angle_matrix(start[:, :3]), start[:, 3:, None] / unit[..., None])
        here, there = (picture.detach().float().mean(dim=1, keepdim=True) for picture in (image, neighbour))
        for size in (pixels for pixels in LEVELS if pixels == 1 or 2 * pixels <= min(depth.shape[-2:])):
            level = _level(here, there, depth / unit[..., None, None], intrinsics.float(), size)
            with torch.no_grad():
                better = motion
                for _ in range(STEPS):
                    better = better.then(_step(better, level))
                before, after = _compared(motion, level), _compared(better, level)
                scale = _scale(before)
                motion = better.where(_unlikeness(after, level, scale) < _unlikeness(before, level, scale), motion)
        further = _step(motion, level)
        motion = motion.then(further - further.detach())
        return torch.cat([axis_angle(motion.turn), motion.shift[..., 0] * unit], dim=1)


def _level(image: Tensor, neighbour: Tensor, depth: Tensor, intrinsics: Tensor, size: int) -> _Level:
    """Downsample images and depth by averaging squares of `size` x `size` pixels; at least half of a square must have
    depth."""
    share = avg_pool2d((depth > 0).to(depth.dtype), size)
    depth = avg_pool2d(depth, size) / share.clamp(min=0.5)
    image, neighbour = avg_pool2d(image, size), avg_pool2d(neighbour, size)
    camera = intrinsics.clone()
    camera[:, :2] /= size
    camera[:, :2, 2] += 0.5 / size - 0.5  # pixel centres are at integers
    across, down = torch.zeros_like(neighbour), torch.zeros_like(neighbour)
    across[..., 1:-1] = (neighbour[..., 2:] - neighbour[..., :-2]) / 2
    down[..., 1:-1, :] = (neighbour[..., 2:, :] - neighbour[..., :-2, :]) / 2
    other = torch.cat([neighbour, across, down], dim=1)
    rows, columns = thinned((image.shape[-2], image.shape[-1]), PIXELS)
    bright, counts, points = (
        values[..., rows, columns].flatten(2) for values in (image, share >= 0.5, back_project(depth, camera))
    )
    return _Level(bright[:, 0], other, points, counts[:, 0], camera)


def _compared(motion: Motion, level: _Level) -> _Compared:
    points = motion.moved(level.points)
    pixels = project(points, level.intrinsics)
    there = sample(level.other, pixels.detach().mT[:, None])[:, :, 0]
    counts = level.counts & within(pixels, (level.other.shape[-2], level.other.shape[-1])) & (points[:, 2] > NEAREST)
    # First order: the gradient then uses the same slopes as the steps.
    bright = there[:, 0] + ((pixels - pixels.detach()) * there[:, 1:]).sum(dim=1)
    difference = bright - level.bright
    lighter = _middle(difference.detach(), counts).nan_to_num(0.0)
    return _Compared(points, difference - lighter, there[:, 1:], counts)


def _middle(values: Tensor, counts: Tensor) -> Tensor:
    """The median of the values that count, [N, 1], from every fourth value."""
    return median_of(values[:, ::4], counts[:, ::4])


def _scale(compared: _Compared) -> Tensor:
    """The robust scale of the differences, [N, 1]."""
    return (SPREAD * _middle(compared.difference.detach().abs(), compared.counts)).nan_to_num(1.0).clamp(min=DARKEST)


def _unlikeness(compared: _Compared, level: _Level, scale: Tensor) -> Tensor:
    """Mean robust error of the images, in [0, 1], [N]; pixels that the motion moves out of the image have error 1."""
    error = torch.where(compared.counts, 1 - 1 / (1 + (compared.difference / scale) ** 2), 1.0)
    return (error * level.counts).sum(dim=1) / level.counts.sum(dim=1).clamp(min=1)


def _step(motion: Motion, level: _Level) -> Tensor:
    """A pose increment by one Gauss-Newton step: rotation vector and translation, [N, 6]."""
    compared = _compared(motion, level)
    with torch.no_grad():
        weights = compared.counts / (1 + (compared.difference / _scale(compared)) ** 2)
        jacobian = slopes(compared.points, level.intrinsics, *compared.slopes.unbind(dim=1))
    return least_squares(jacobian, weights, -compared.difference, FLOOR)
