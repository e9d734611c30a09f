"""A camera motion, and its refinement by steps of least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from weightsearch.geometry.camera import NEAREST
from weightsearch.geometry.pose import axis_angle_matrix

DAMPING: Final = 1e-6  # share of the normal equations' diagonal that is added to it


@dataclass(frozen=True)
class Motion:
    """Rigid motions. turn: rotation matrices, [N, 3, 3]. shift: translations, [N, 3, 1]."""

    turn: Tensor
    shift: Tensor

    def moved(self, points: Tensor) -> Tensor:
        """Points of the first camera's coordinates in the other's, [N, 3, P]."""
        return self.turn @ points + self.shift

    def then(self, change: Tensor) -> Motion:
        """This motion followed by a small one. change: rotation vector and translation, [N, 6]."""
        small = axis_angle_matrix(change[:, :3])
        return Motion(small @ self.turn, small @ self.shift + change[:, 3:, None])

    def where(self, mask: Tensor, other: Motion) -> Motion:
        """This motion inside the mask, [N] bool, the other motion elsewhere."""
        chosen = mask[:, None, None]
        return Motion(torch.where(chosen, self.turn, other.turn), torch.where(chosen, self.shift, other.shift))


def median_of(values: Tensor, counts: Tensor) -> Tensor:
    """The median of each row's values inside a mask, [N, 1]; NaN if the mask is empty. values: [N, P]. counts: the
    mask, [N, P] bool."""
    return torch.where(counts, values, torch.nan).nanmedian(dim=1, keepdim=True).values


def thinned(size: tuple[int, int], pixels: int) -> tuple[slice, slice]:
    """Slices of evenly spaced rows and columns that hold at most about `pixels` pixels of an image. size: its height
    and width."""
    stride = math.ceil(math.sqrt(size[0] * size[1] / pixels))
    rows, columns = (slice(min(stride, side) // 2, None, stride) for side in size)
    return rows, columns


def slopes(points: Tensor, intrinsics: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Jacobian of across * x + down * y, for a point's projected pixel (x, y), with respect to a pose increment
    (rotation vector and translation), [N, 6, P]; 0 for points behind the camera. points: in the camera's coordinates,
    [N, 3, P]. intrinsics: [N, 3, 3]. across, down: [N, P]."""
    x, y, z = points.unbind(dim=1)
    near = torch.where(z > NEAREST, 1 / z.clamp(min=NEAREST), 0)
    fx, skew, fy = (intrinsics[:, row, column, None] for row, column in ((0, 0), (0, 1), (1, 1)))
    by_x, by_y = across * fx * near, (across * skew + down * fy) * near
    by_z = -(by_x * x + by_y * y) * near
    # A small rotation r moves a point by r x point.
    return torch.stack([y * by_z - z * by_y, z * by_x - x * by_z, x * by_y - y * by_x, by_x, by_y, by_z], dim=1)


def least_squares(jacobian: Tensor, weights: Tensor, residual: Tensor, floor: float) -> Tensor:
    """The change that minimises the weighted sum of squares of residual - change @ jacobian, [N, 6]. jacobian:
    [N, 6, R]. weights, residual: [N, R]. floor: added to the normal equations' diagonal, so that a parameter that no
    residual depends on does not change."""
    weighed = (jacobian * weights[:, None]).double()
    normal = weighed @ jacobian.double().mT
    right = weighed @ residual[..., None].double()
    damping = DAMPING * normal.diagonal(dim1=1, dim2=2) + floor
    solved: Tensor = torch.linalg.solve_ex(normal + torch.diag_embed(damping), right).result
    return solved[..., 0].float().nan_to_num(0.0, 0.0, 0.0)
