"""The camera's motion between frames, from their images, from the flow between them, or from both."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal

import torch
from torch import Tensor, nn

from weightsearch.geometry.alignment import aligned_motion
from weightsearch.geometry.motion import camera_motion
from weightsearch.models.flow import halving

TURN: Final = 0.01  # radians: motion from frame to frame is small
STEP: Final = 0.05  # of the depth that a new network sees: Monodepth2's .01 m, whose depth starts at .2 m
FLOW_UNIT: Final = 0.1  # of half the picture: what a flow is divided by before the network sees it

MotionFrom = Literal["images", "flow", "both", "depth_and_flow", "depth_and_images"]


class SolvedPose(nn.Module):
    """The motion that explains the flow best with the depth that is there: see camera_motion. Where aligned, it is the
    start of the one under which the pictures agree most: see aligned_motion. Nothing is learned.

    forward: image [B, 3, H, W], neighbours [B, S, 3, H, W], depth in metres, [B, 1, H, W], flow and backward_flow in
    pixels, [B, S, 2, H, W], intrinsics in pixels, [B, 3, 3] -> as PoseNet, [B, S, 6]. A gradient reaches the depth, not
    the flow.
    """

    def __init__(self, *, aligned: bool) -> None:
        super().__init__()
        self.aligned = aligned

    def forward(
        self, image: Tensor, neighbours: Tensor, depth: Tensor, flow: Tensor, backward_flow: Tensor, intrinsics: Tensor
    ) -> Tensor:
        pairs = flow.shape[1]
        image, depth, intrinsics = (one.repeat_interleave(pairs, dim=0) for one in (image, depth, intrinsics))
        there, back = flow.flatten(0, 1), backward_flow.flatten(0, 1)
        if self.aligned:
            start = camera_motion(there, back, depth.detach(), intrinsics)
            motion = aligned_motion(image, neighbours.flatten(0, 1), depth, intrinsics, start)
        else:
            motion = camera_motion(there, back, depth, intrinsics)
        return motion.reshape(-1, pairs, 6)


class PoseNet(nn.Module):
    """neighbours: offsets in frames of the neighbours, S of them. start_depth: what the depth network sees before it
    has learned anything, metres. channels: of the first features. motion_from: what the network looks at: the two
    images; the flow between them together with every pixel's place in the picture, from -1 to 1; or both.

    The network sees pairs in the order of time, the earlier frame first, and knows nothing of how far they lie apart.
    Where the neighbour is the earlier one, what it says is inverted.

    forward: image [B, 3, H, W], neighbours [B, S, 3, H, W], and flow and backward_flow in pixels, [B, S, 2, H, W]
    (see Flow) -> [B, S, 6]: rotation vector (radians) and translation (metres, in the scale that depth has),
    from the frame's camera coordinates to the neighbour's. No gradient reaches the flow through it: flow is to say
    where pixels go, not what suits the pose. Source: Godard et al. 2019, but for the flow.
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
        # Not normalised: the size of the flow, and of the difference of two pictures, is how far the camera moved.
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
            parts += [_relative(ahead), _places(ahead)]
        seen = self.features(torch.cat(parts, dim=2).flatten(0, 1))
        poses = self.scale * self.head(seen).float().mean(dim=(2, 3)).unflatten(0, neighbours.shape[:2])
        return self._in_time(poses, inverted(poses))

    def _in_time(self, later: Tensor, earlier: Tensor) -> Tensor:
        """[B, S, ...]: of `later` for the neighbours that lie later in time, of `earlier` for the others."""
        found = zip(self.neighbours, later.unbind(1), earlier.unbind(1), strict=True)
        return torch.stack([ahead if offset > 0 else behind for offset, ahead, behind in found], dim=1)


def inverted(pose: Tensor) -> Tensor:
    """The inverse (-r, -Rᵀ t) of rigid motions (r, t), rotation vectors and translations, [..., 6]."""
    vector, translation = pose[..., :3], pose[..., 3:]
    return torch.cat([-vector, -rotated(-vector, translation)], dim=-1)


def rotated(vector: Tensor, point: Tensor) -> Tensor:
    """Points [..., 3] turned by rotation vectors [..., 3] (radians): Rodrigues' formula, with finite gradients at 0.
    Not by axis_angle_matrix: within the network autocast would take its products in half precision."""
    angle: Tensor = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    once: Tensor = torch.linalg.cross(vector, point)
    twice: Tensor = torch.linalg.cross(vector, once)
    first, second = (angle / torch.pi).sinc(), 0.5 * (angle / (2 * torch.pi)).sinc().square()
    return point + first * once + second * twice


def _relative(flow: Tensor) -> Tensor:
    """[B, S, 2, H, W] in FLOW_UNITs instead of pixels."""
    height, width = flow.shape[-2:]
    half = torch.stack([flow[:, :, 0] / width, flow[:, :, 1] / height], dim=2) * 2
    return half / FLOW_UNIT


def _places(flow: Tensor) -> Tensor:
    """x and y of every pixel from -1 to 1, as [B, S, 2, H, W]."""
    height, width = flow.shape[-2:]
    x = torch.linspace(-1, 1, width, dtype=flow.dtype, device=flow.device).expand(height, width)
    y = torch.linspace(-1, 1, height, dtype=flow.dtype, device=flow.device).unsqueeze(1).expand(height, width)
    return torch.stack([x, y]).expand(flow.shape[0], flow.shape[1], -1, -1, -1)
