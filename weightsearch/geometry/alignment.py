"""The camera's motion under which a picture shows most nearly what its neighbour shows, where depth is known."""

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

PIXELS: Final = 8000  # of a level that are looked at, at most
LEVELS: Final = (2, 1)  # pixels of the picture to a pixel's side, coarse first
STEPS: Final = 10  # of each
SPREAD: Final = 1.5  # of the Cauchy distribution's scale to the median difference
DARKEST: Final = 2e-3  # differences of brightness, from 0 to 1, are not weighed by a finer scale
FLOOR: Final = 1e-6  # of the normal equations' diagonal: where a picture shows nothing, the motion stays


@dataclass(frozen=True)
class _Level:
    """N pairs of pictures at one size. bright: of the first, [N, P]. other: the neighbour's brightness and its slopes
    along x and y, [N, 3, H, W]. points: in the first camera, in units of their median depth, [N, 3, P]. counts: [N, P]
    bool. intrinsics: [N, 3, 3]."""

    bright: Tensor
    other: Tensor
    points: Tensor
    counts: Tensor
    intrinsics: Tensor


@dataclass(frozen=True)
class _Compared:
    """A level of the image pyramid under a motion. points: in the other camera, [N, 3, P]. difference: of the
    brightness, [N, P]. slopes: of the neighbour's brightness by a pixel's step, [N, 2, P]. counts: that lie in both
    pictures, [N, P] bool.
    """

    points: Tensor
    difference: Tensor
    slopes: Tensor
    counts: Tensor


def aligned_motion(image: Tensor, neighbour: Tensor, depth: Tensor, intrinsics: Tensor, start: Tensor) -> Tensor:
    """Rotation vector (radians) and translation (metres, in the scale of depth) from a camera's coordinates to the
    other's, [B, 6]. image, neighbour: colour in [0, 1], [B, 3, H, W]. depth: metres, [B, 1, H, W]; 0 where it is not
    known. intrinsics: pixels, [B, 3, 3]. start: a motion that is right to a few pixels, as the result, [B, 6].

    Direct image alignment (Lucas and Kanade 1981; Engel, Koltun and Cremers 2018): Gauss and Newton's steps over the
    brightness of all pixels, at half the size and then at the whole, each weighed as by a Cauchy distribution with the
    scale of the median difference, so that what moves by itself hardly counts. A pixel says as much as it shows: flow,
    which must say something on a white wall too, is less exact. One change of brightness of the whole picture is
    allowed. A size whose steps do not make the pictures more alike leaves the motion as it was.

    The gradient is that of one more step, with its weights and slopes as they are, and reaches depth alone.
    """
    with torch.autocast(depth.device.type, enabled=False):
        known = depth.isfinite() & (depth > 0)
        depth = torch.where(known, depth, 0).float()
        unit = median_of(depth.detach().flatten(1), known.flatten(1)).nan_to_num(1.0)
        start = start.detach().float()
        motion = Motion(axis_angle_matrix(start[:, :3]), start[:, 3:, None] / unit[..., None])
        here, there = (one.detach().float().mean(dim=1, keepdim=True) for one in (image, neighbour))
        for size in (one for one in LEVELS if one == 1 or 2 * one <= min(depth.shape[-2:])):
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
    """The pictures and depth as means of squares of so many pixels, of which most must be known."""
    known = avg_pool2d((depth > 0).to(depth.dtype), size)
    depth = avg_pool2d(depth, size) / known.clamp(min=0.5)
    image, neighbour = avg_pool2d(image, size), avg_pool2d(neighbour, size)
    camera = intrinsics.clone()
    camera[:, :2] /= size
    camera[:, :2, 2] += 0.5 / size - 0.5  # pixel centres lie at whole numbers
    across, down = torch.zeros_like(neighbour), torch.zeros_like(neighbour)
    across[..., 1:-1] = (neighbour[..., 2:] - neighbour[..., :-2]) / 2
    down[..., 1:-1, :] = (neighbour[..., 2:, :] - neighbour[..., :-2, :]) / 2
    other = torch.cat([neighbour, across, down], dim=1)
    rows, columns = thinned((image.shape[-2], image.shape[-1]), PIXELS)
    bright, counts, points = (
        one[..., rows, columns].flatten(2) for one in (image, known >= 0.5, back_project(depth, camera))
    )
    return _Level(bright[:, 0], other, points, counts[:, 0], camera)


def _compared(motion: Motion, level: _Level) -> _Compared:
    points = motion.moved(level.points)
    places = project(points, level.intrinsics)
    there = sample(level.other, places.detach().mT[:, None])[:, :, 0]
    counts = level.counts & within(places, (level.other.shape[-2], level.other.shape[-1])) & (points[:, 2] > NEAREST)
    # To first order, so that the gradient is that of the slopes which the steps go by.
    bright = there[:, 0] + ((places - places.detach()) * there[:, 1:]).sum(dim=1)
    difference = bright - level.bright
    lighter = _middle(difference.detach(), counts).nan_to_num(0.0)
    return _Compared(points, difference - lighter, there[:, 1:], counts)


def _middle(values: Tensor, counts: Tensor) -> Tensor:
    """The median of those that count, [N, 1], by every fourth."""
    return median_of(values[:, ::4], counts[:, ::4])


def _scale(found: _Compared) -> Tensor:
    """The robust scale of the differences, [N, 1]."""
    return (SPREAD * _middle(found.difference.detach().abs(), found.counts)).nan_to_num(1.0).clamp(min=DARKEST)


def _unlikeness(found: _Compared, level: _Level, scale: Tensor) -> Tensor:
    """From 0 to 1, [N]; what the motion leads out of the picture is not alike at all."""
    error = torch.where(found.counts, 1 - 1 / (1 + (found.difference / scale) ** 2), 1.0)
    return (error * level.counts).sum(dim=1) / level.counts.sum(dim=1).clamp(min=1)


def _step(motion: Motion, level: _Level) -> Tensor:
    """A further rotation vector and translation, [N, 6]."""
    found = _compared(motion, level)
    with torch.no_grad():
        weights = found.counts / (1 + (found.difference / _scale(found)) ** 2)
        jacobian = slopes(found.points, level.intrinsics, *found.slopes.unbind(dim=1))
    return least_squares(jacobian, weights, -found.difference, FLOOR)
