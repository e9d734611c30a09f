"""The distance of optical flow from the epipolar lines of a camera motion."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from weightsearch.geometry.camera import inverse_intrinsics, pixel_grid
from weightsearch.geometry.pose import cross_matrix

FLOOR: Final = 1e-6  # metres of translation below which a motion has no epipolar lines
NEAREST: Final = 1e-2  # pixels from the epipole below which a point has no line of its own


def essential_matrix(pose: Tensor) -> Tensor:
    """E = [t]x R, [..., 3, 3], of poses from one camera's coordinates to the other's, [..., 4, 4]. t is normalised,
    since distances do not depend on its length. Without translation there are no epipolar lines, and E is 0."""
    translation = pose[..., :3, 3]
    square = (translation**2).sum(dim=-1, keepdim=True)
    none = square <= FLOOR**2
    direction = translation.masked_fill(none, 0) / square.masked_fill(none, 1).sqrt()
    return cross_matrix(direction) @ pose[..., :3, :3]


def fundamental_matrix(pose: Tensor, intrinsics: Tensor) -> Tensor:
    """F = K^-T E K^-1, [..., 3, 3]: p'ᵀ F p = 0 for the pixels p and p' of a static point in the two images."""
    back = inverse_intrinsics(intrinsics)
    return back.mT @ essential_matrix(pose) @ back


def epipolar_distance(flow: Tensor, pose: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Unsigned distance in pixels of p + flow(p) from the epipolar line of p, [B, 1, H, W], and the mask of the pixels
    that have such a line, bool. The epipole has no line, nor has any pixel if the camera only rotates; the distance is
    0 there. flow: pixels, [B, 2, H, W]. pose: [B, 4, 4]. intrinsics: pixels, [B, 3, 3]. Motion along the line does not
    change the distance."""
    size = (flow.shape[-2], flow.shape[-1])
    grid = pixel_grid(size, flow)
    lines = (fundamental_matrix(pose, intrinsics) @ grid.flatten(1)).reshape(-1, 3, *size)
    x, y = (grid[:2] + flow).unbind(dim=1)
    a, b, c = lines.unbind(dim=1)
    square = a**2 + b**2
    # The normal's length is about the point's distance from the epipole, in focal lengths, over the focal length.
    floor = NEAREST / (intrinsics[:, 0, 0] * intrinsics[:, 1, 1])
    none = square <= floor[:, None, None] ** 2
    away = (a * x + b * y + c).abs() / square.masked_fill(none, 1).sqrt()
    return away.masked_fill(none, 0).unsqueeze(1), ~none.unsqueeze(1)
