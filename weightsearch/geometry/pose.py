"""Rigid motions as rotation vectors and matrices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

SMALL = 1e-8  # squared angle below which the series' first terms are exact in float32


def axis_angle_matrix(vector: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3], whose length is the angle in radians (Rodrigues).
    The gradient is finite at 0 too."""
    square = (vector**2).sum(dim=-1, keepdim=True)[..., None]
    near = square < SMALL
    angle = torch.where(near, 1, square).sqrt()
    first = torch.where(near, 1 - square / 6, angle.sin() / angle)
    second = torch.where(near, 0.5 - square / 24, (1 - angle.cos()) / angle**2)
    cross = cross_matrix(vector)
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + first * cross + second * (cross @ cross)


def axis_angle(matrix: Tensor) -> Tensor:
    """Rotation vectors [..., 3] of rotation matrices [..., 3, 3], of angles below pi radians: the inverse of
    axis_angle_matrix."""
    x = matrix[..., 2, 1] - matrix[..., 1, 2]
    y = matrix[..., 0, 2] - matrix[..., 2, 0]
    z = matrix[..., 1, 0] - matrix[..., 0, 1]
    twice = torch.stack([x, y, z], dim=-1)  # the axis times twice the angle's sine
    sine = torch.linalg.vector_norm(twice, dim=-1, keepdim=True) / 2
    cosine = (matrix.diagonal(dim1=-2, dim2=-1).sum(dim=-1, keepdim=True) - 1) / 2
    near = sine < SMALL
    angle = torch.atan2(sine, cosine)
    return twice * torch.where(near, 0.5, angle / (2 * torch.where(near, 1, sine)))


def cross_matrix(vector: Tensor) -> Tensor:
    """[v]x, [..., 3, 3], of vectors [..., 3]: [v]x w = v x w."""
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
