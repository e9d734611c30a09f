"""Camera motion between frames, from their images, from the flow between them, or from both."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal

import torch
from torch import Tensor, nn

from weightsearch.geometry.alignment import aligned_motion
from weightsearch.geometry.motion import camera_motion
from weightsearch.models.flow import halving

TURN: Final = 0.01  # scale of predicted rotations, radians: motion between frames is small
STEP: Final = 0.05  # scale of translations over the initial depth: Monodepth2 has .01 m with an initial depth of .2 m
FLOW_UNIT: Final = 0.1  # unit of the flow in the network's input, as a share of half the image

MotionFrom = Literal["images", "flow", "both", "depth_and_flow", "depth_and_images"]


class SolvedPose(nn.Module):
    """The camera motion that explains the flow best, given depth: see camera_motion. aligned: refine it to the motion
    under which the images agree best: see aligned_motion. It has no parameters.

    forward: image [B, 3, H, W], neighbours [B, S, 3, H, W], depth in metres, [B, 1, H, W], flow and backward_flow in
    pixels, [B, S, 2, H, W], intrinsics in pixels, [B, 3, 3] -> poses as in PoseNet, [B, S, 6]. Depth gets a gradient,
    flow does not.
    """

    def __init__(self, *, aligned: bool) -> None:
        super().__init__()
        self.aligned = aligned

    def forward(
        self, image: Tensor, neighbours: Tensor, depth: Tensor, flow: Tensor, backward_flow: Tensor, intrinsics: Tensor
    ) -> Tensor:
        pairs = flow.shape[1]
        image, depth, intrinsics = (values.repeat_interleave(pairs, dim=0) for values in (image, depth, intrinsics))
        there, back = flow.flatten(0, 1), backward_flow.flatten(0, 1)
        if self.aligned:
            start = camera_motion(there, back, depth.detach(), intrinsics)
            motion = aligned_motion(image, neighbours.flatten(0, 1), depth, intrinsics, start)
        else:
            motion = camera_motion(there, back, depth, intrinsics)
        return motion.reshape(-1, pairs, 6)


class PoseNet(nn.Module):
    """neighbours: offsets in frames of the S neighbours. start_depth: depth that an untrained depth network predicts,
    metres. channels: of the first features. motion_from: the network's input: the two `images`; the `flow` between them
    with every pixel's coordinates, from -1 to 1; or `both`.

    The input pairs are ordered in time, the earlier frame first, without their distance in time. If the neighbour is
    the earlier frame, the predicted pose is inverted.

    forward: image [B, 3, H, W], neighbours [B, S, 3, H, W], and flow and backward_flow in pixels, [B, S, 2, H, W]
    (see Flow) -> [B, S, 6]: rotation vector (radians) and translation (metres, in the scale of depth), from the frame's
    camera coordinates to the neighbour's. The flow gets no gradient, so that it is not adapted to the pose. Source:
    Godard et al. 2019, without flow there.
    """

    scale: Tensor

    def __init__(
        self,
        *,
        neighbours: tuple[int, ...],
        start_depth: float,
        channels: int = 16,
        motion_from: Literal["images", "flow", "both"] = "both",
    ) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.motion_from = motion_from
        inputs = {"images": 6, "flow": 4, "both": 10}[motion_from]
        widths = [inputs, channels, 2 * channels, 4 * channels, 4 * channels]
        # Not normalised: the size of the flow, and of the difference of two images, depends on the camera motion.
        self.features = nn.Sequential(*(halving(*pair, normalised=False) for pair in pairwise(widths)))
        self.head = nn.Conv2d(widths[-1], 6, 1)
        self.register_buffer("scale", torch.tensor([TURN] * 3 + [STEP * start_depth] * 3), persistent=False)

    def forward(self, image: Tensor, neighbours: Tensor, flow: Tensor, backward_flow: Tensor) -> Tensor:
        parts = []
        if self.motion_from != "flow":
            frame = image.unsqueeze(1).expand_as(neighbours)
            parts += [self._in_time(frame, neighbours) - 0.5, self._in_time(neighbours, frame) - 0.5]
        if self.motion_from != "images":
            ahead = self._in_time(flow, backward_flow).detach()
            parts += [_relative(ahead), _coordinates(ahead)]
        seen = self.features(torch.cat(parts, dim=2).flatten(0, 1))
        poses = self.scale * self.head(seen).float().mean(dim=(2, 3)).unflatten(0, neighbours.shape[:2])
        return self._in_time(poses, inverted(poses))

    def _in_time(self, later: Tensor, earlier: Tensor) -> Tensor:
        """Values of `later` for neighbours later in time than the frame, of `earlier` for the others, [B, S, ...]."""
        pairs = zip(self.neighbours, later.unbind(1), earlier.unbind(1), strict=True)
        return torch.stack([ahead if offset > 0 else behind for offset, ahead, behind in pairs], dim=1)


def inverted(pose: Tensor) -> Tensor:
    """The inverse (-r, -Rᵀ t) of rigid motions (r, t), rotation vectors and translations, [..., 6]."""
    vector, translation = pose[..., :3], pose[..., 3:]
    return torch.cat([-vector, -rotated(-vector, translation)], dim=-1)


def rotated(vector: Tensor, point: Tensor) -> Tensor:
    """Points [..., 3] rotated by rotation vectors [..., 3] (radians): Rodrigues' formula, with finite gradients at 0.
    axis_angle_matrix is not used, since autocast would compute its products in half precision."""
    angle: Tensor = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    once: Tensor = torch.linalg.cross(vector, point)
    twice: Tensor = torch.linalg.cross(vector, once)
    first, second = (angle / torch.pi).sinc(), 0.5 * (angle / (2 * torch.pi)).sinc().square()
    return point + first * once + second * twice


def _relative(flow: Tensor) -> Tensor:
    """Convert flow [B, S, 2, H, W] from pixels to FLOW_UNITs."""
    height, width = flow.shape[-2:]
    half = torch.stack([flow[:, :, 0] / width, flow[:, :, 1] / height], dim=2) * 2
    return half / FLOW_UNIT


def _coordinates(flow: Tensor) -> Tensor:
    """The coordinates (x, y) of every pixel, from -1 to 1, [B, S, 2, H, W]. flow: gives shape, type and device."""
    height, width = flow.shape[-2:]
    x = torch.linspace(-1, 1, width, dtype=flow.dtype, device=flow.device).expand(height, width)
    y = torch.linspace(-1, 1, height, dtype=flow.dtype, device=flow.device).unsqueeze(1).expand(height, width)
    return torch.stack([x, y]).expand(flow.shape[0], flow.shape[1], -1, -1, -1)
