"""A pinhole camera: pixels to points and back. Pixel centres are at integers."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

NEAREST: Final = 1e-3  # metres in front of a camera; nearer points, and points behind it, are not visible


def pixel_grid(size: tuple[int, int], like: Tensor) -> Tensor:
    """(x, y, 1) of every pixel, [3, H, W]."""
    height, width = size
    rows = torch.arange(height, dtype=like.dtype, device=like.device)
    columns = torch.arange(width, dtype=like.dtype, device=like.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)])


def inverse_intrinsics(intrinsics: Tensor) -> Tensor:
    """The inverse of intrinsics, [..., 3, 3], in closed form: a general inverse waits for the GPU, to check for
    singular matrices."""
    fx, skew, cx = intrinsics[..., 0, 0], intrinsics[..., 0, 1], intrinsics[..., 0, 2]
    fy, cy = intrinsics[..., 1, 1], intrinsics[..., 1, 2]
    zero, ones = torch.zeros_like(fx), torch.ones_like(fx)
    numbers = [1 / fx, -skew / (fx * fy), (skew * cy - cx * fy) / (fx * fy), zero, 1 / fy, -cy / fy, zero, zero, ones]
    return torch.stack(numbers, dim=-1).reshape(*fx.shape, 3, 3)


def back_project(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Points in the camera's coordinates, metres, [B, 3, H, W]. depth: metres, [B, 1, H, W]. intrinsics: pixels,
    [B, 3, 3]."""
    size = (depth.shape[-2], depth.shape[-1])
    rays = inverse_intrinsics(intrinsics) @ pixel_grid(size, depth).flatten(1)
    points: Tensor = rays.reshape(-1, 3, *size) * depth
    return points


def project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Project points to pixels, [B, 2, P]; for points that are not in front of the camera the result has no meaning,
    but is finite. points: in the camera's coordinates, metres, [B, 3, P]. intrinsics: pixels, [B, 3, 3]."""
    return (intrinsics @ points)[:, :2] / points[:, 2:].clamp(min=NEAREST)


def rigid_flow(depth: Tensor, pose: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Optical flow of a static scene under a camera motion, pixels, [B, 2, H, W], and the points' depth in the other
    camera, metres, [B, 1, H, W]. depth: metres, [B, 1, H, W]. pose: from the camera's coordinates to the other's,
    [B, 4, 4]. intrinsics: of both cameras, pixels, [B, 3, 3]. For points that are not in front of the other camera the
    flow has no meaning, but is finite."""
    points = pose[:, :3, :3] @ back_project(depth, intrinsics).flatten(2) + pose[:, :3, 3:]
    size = (depth.shape[-2], depth.shape[-1])
    pixels = project(points, intrinsics).reshape(-1, 2, *size)
    return pixels - pixel_grid(size, depth)[:2], points[:, 2:].reshape(-1, 1, *size)
