"""Rigid motions as rotation vectors and matrices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

SMALL = 1e-8  # squared angle below which the series' first terms are exact in float32


def axis_angle_matrix(vector: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3], whose length is the angle in radians (Rodrigues).
    The gradient is finite at 0 too. 1 - cos is computed as 2 sin² of half the angle: in float32, 1 - cos itself is 0 up
    to 2e-4 rad."""
    square = (vector**2).sum(dim=-1, keepdim=True)[..., None]
    near = square < SMALL
    angle = torch.where(near, 1, square).sqrt()
    first = torch.where(near, 1 - square / 6, angle.sin() / angle)
    second = torch.where(near, 0.5 - square / 24, 2 * ((angle / 2).sin() / angle) ** 2)
    cross = cross_matrix(vector)
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + first * cross + second * (cross @ cross)


def axis_angle(matrix: Tensor) -> Tensor:
    """Rotation vectors [..., 3], of angles up to pi radians, of rotation matrices [..., 3, 3]: the inverse of
    axis_angle_matrix. Precise, with a finite gradient, at every angle, 0 and pi included; at pi it is one of the two
    vectors ±pi n. Computed through quaternions (Shepperd 1978), since near pi the sine does not determine the angle."""
    quaternion = _quaternion(matrix)
    # q and -q are the same rotation; with a part w >= 0 the angle is at most pi.
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, axis = quaternion[..., :1], quaternion[..., 1:]
    square = (axis**2).sum(dim=-1, keepdim=True)  # of the sine of half the angle
    near = square < SMALL
    sine = torch.where(near, 1, square).sqrt()
    series = (2 - 2 * square / (3 * w.clamp(min=0.5) ** 2)) / w.clamp(min=0.5)
    return axis * torch.where(near, series, 2 * torch.atan2(sine, w) / sine)


def _quaternion(matrix: Tensor) -> Tensor:
    """Unit quaternions (w, x, y, z) [..., 4] of rotation matrices [..., 3, 3], of either sign: the row of 4 q qᵀ (which
    is linear in the matrix) with the largest diagonal element, which is at least 1."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(dim=-1) for row in matrix.unbind(dim=-2))
    rows = [
        [1 + a + e + i, h - f, c - g, d - b],
        [h - f, 1 + a - e - i, b + d, c + g],
        [c - g, b + d, 1 - a + e - i, f + h],
        [d - b, c + g, f + h, 1 - a - e + i],
    ]
    products = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    squares = products.diagonal(dim1=-2, dim2=-1)
    largest = squares.argmax(dim=-1, keepdim=True)
    row = products.gather(-2, largest[..., None].expand(*largest.shape, 4))[..., 0, :]
    return row / (2 * squares.gather(-1, largest).sqrt())


def cross_matrix(vector: Tensor) -> Tensor:
    """Cross-product matrices [v]x, [..., 3, 3], of vectors v [..., 3]: [v]x w = v x w."""
    x, y, z = vector.unbind(dim=-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*x.shape, 3, 3)


def pose_matrix(pose: Tensor) -> Tensor:
    """Poses [..., 4, 4] of rotation vectors (radians) and translations [..., 6]."""
    upper = torch.cat([axis_angle_matrix(pose[..., :3]), pose[..., 3:, None]], dim=-1)
    last = pad(torch.zeros_like(upper[..., :1, :3]), (0, 1), value=1.0)
    return torch.cat([upper, last], dim=-2)


def inverse(pose: Tensor) -> Tensor:
    """The rigid inverse of poses [..., 4, 4]."""
    turn = pose[..., :3, :3].mT
    upper = torch.cat([turn, -turn @ pose[..., :3, 3:]], dim=-1)
    return torch.cat([upper, pose[..., 3:, :]], dim=-2)
