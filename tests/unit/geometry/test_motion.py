"""The camera's motion from flow and depth, against computed video of which everything is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tests.unit.geometry.differences import by_gradient_and_differences
from weightsearch.data.sources.procedural import Procedural
from weightsearch.geometry.camera import rigid_flow
from weightsearch.geometry.motion import camera_motion
from weightsearch.geometry.occlusion import visible
from weightsearch.geometry.pose import axis_angle, pose_matrix

SIZE = (64, 96)
FRAMES = (3, 8, 14)


@dataclass(frozen=True)
class Pairs:
    """Flow there and back, depth, intrinsics, and the pixels that move by themselves, of frames and the next ones.
    turn, shift: the true motion, [N, 3]."""

    flow: torch.Tensor
    backward: torch.Tensor
    depth: torch.Tensor
    intrinsics: torch.Tensor
    moving: torch.Tensor
    turn: torch.Tensor
    shift: torch.Tensor

    def found(self, **changed):
        given = {name: getattr(self, name) for name in ("flow", "backward", "depth", "intrinsics")}
        motion = camera_motion(**{**given, **changed})
        return motion[:, :3], motion[:, 3:]


def pairs(variety, moving):
    source = Procedural(size=SIZE, variety=variety, scenes=2, frames=20, moving=moving, pace=2, seed=1)
    rows = []
    for video in range(2):
        for index in FRAMES:
            frame, other = source.read(video, index), source.read(video, index + 1)
            there, back = source.flow(video, index, 1), source.flow(video, index + 1, -1)
            between = np.linalg.inv(other.pose) @ frame.pose
            moves = source.moving(video, index)[None]
            rows.append(
                (there.transpose(2, 0, 1), back.transpose(2, 0, 1), frame.depth[None], frame.intrinsics, moves, between)
            )
    *parts, between = (torch.from_numpy(np.stack(one)).float() for one in zip(*rows, strict=True))
    return Pairs(*parts, axis_angle(between[:, :3, :3]), between[:, :3, 3])


def degrees(one, other):
    return torch.rad2deg((one - other).norm(dim=1)).max()


def off(one, other):
    """The largest error of a translation as a share of its length."""
    return ((one - other).norm(dim=1) / other.norm(dim=1)).max()


@pytest.mark.parametrize("variety", ["driving", "indoor"])
def test_of_a_still_scene_it_is_the_true_one(variety):
    given = pairs(variety, 0)
    turn, shift = given.found()
    assert degrees(turn, given.turn) < 0.005
    assert off(shift, given.shift) < 0.002


def test_what_moves_by_itself_does_not_count():
    """Cars on up to a fifth of the pixels that count, with flows of up to 20 pixels that no camera explains."""
    given = pairs("driving", 16)
    counted = visible(given.flow, given.backward) & (given.depth > 0)
    shares = (given.moving.bool() & counted).sum(dim=(1, 2, 3)) / counted.sum(dim=(1, 2, 3))
    assert shares.max() > 0.15
    turn, shift = given.found()
    assert degrees(turn, given.turn) < 0.01
    assert off(shift, given.shift) < 0.005


def test_an_error_of_flow_is_averaged_over_the_pixels():
    """Errors of .3 pixels in both directions at every pixel; a pixel's angle is .7 degrees."""
    given = pairs("driving", 16)
    noise = 0.3 * torch.randn(given.flow.shape, generator=torch.Generator().manual_seed(2))
    turn, shift = given.found(flow=given.flow + noise)
    assert degrees(turn, given.turn) < 0.2
    assert off(shift, given.shift) < 0.06


def test_translations_have_the_scale_of_depth():
    given = pairs("indoor", 0)
    turn, shift = given.found()
    again, longer = given.found(depth=3 * given.depth)
    torch.testing.assert_close(again, turn, rtol=0, atol=1e-5)
    torch.testing.assert_close(longer, 3 * shift, rtol=1e-3, atol=1e-5)


def test_the_gradient_reaches_depth_as_differences_say():
    """The derivative of the motion by a pattern added to depth: finite differences against the gradient."""
    given = pairs("driving", 0)
    pattern = torch.randn(given.depth.shape, generator=torch.Generator().manual_seed(3))
    flow = given.flow.clone().requires_grad_()

    def motion(amount):
        return torch.cat(given.found(depth=given.depth * (1 + amount * pattern), flow=flow), dim=1)

    # Differences of flow stay far below SHARPEST, so that all pixels count alike.
    derivatives, differences = by_gradient_and_differences(motion, 3e-4)
    torch.testing.assert_close(derivatives, differences, rtol=0.05, atol=0.002)
    assert differences.abs().max() > 0.05
    found = motion(torch.zeros((), requires_grad=True))
    assert torch.autograd.grad(found.sum(), flow, allow_unused=True) == (None,)


def test_a_third_of_the_picture_may_move_as_one():
    """A band of it, by 5 pixels more than it should, and back again, in 32 pictures."""
    generator = torch.Generator().manual_seed(4)
    coarse = 2 + 8 * torch.rand(32, 1, 4, 6, generator=generator)
    depth = torch.nn.functional.interpolate(coarse, size=SIZE, mode="bilinear", align_corners=True)
    camera = torch.tensor([[80.0, 0, 48], [0, 80, 32], [0, 0, 1]]).expand(32, 3, 3)
    true = torch.randn(32, 6, generator=generator) * torch.tensor([0.01, 0.01, 0.01, 0.05, 0.05, 0.05])
    flow, _ = rigid_flow(depth, pose_matrix(true), camera)
    flow[:, 0, :, 40:72] += 5.0
    found = camera_motion(flow, -flow, depth, camera)
    assert degrees(found[:, :3], true[:, :3]) < 0.01
    assert off(found[:, 3:], true[:, 3:]) < 0.01


def test_pixels_whose_flow_does_not_come_back_do_not_count():
    """More than half of the picture: the others alone say what moved."""
    given = pairs("indoor", 0)
    flow, backward = given.flow.clone(), given.backward.clone()
    flow[..., :64, :70] += 9.0
    turn, shift = given.found(flow=flow, backward=backward)
    assert degrees(turn, given.turn) < 0.02
    assert off(shift, given.shift) < 0.02


def test_skew_counts():
    """A picture whose columns lean is another one's at other places."""
    given = pairs("driving", 0)
    lean = given.intrinsics.clone()
    lean[:, 0, 1] = 40.0
    depth = torch.where(given.depth > 0, given.depth, 100.0)
    poses = pose_matrix(torch.cat([given.turn, given.shift], dim=1))
    there, _ = rigid_flow(depth, poses, lean)
    still = given.found(depth=depth, flow=there, backward=-there, intrinsics=lean)
    plain = given.found(depth=depth, flow=there, backward=-there)
    assert degrees(still[0], given.turn) < 0.01
    assert degrees(plain[0], given.turn) > 0.05


@pytest.mark.parametrize("few", [0, 1, 4, 15])
def test_of_too_few_pixels_there_is_no_motion_and_no_gradient(few):
    given = pairs("driving", 0)
    depth = torch.zeros_like(given.depth).flatten(1)
    depth[:, (62 * 96 + 1) : (62 * 96 + 1) + 3 * few] = 9.0
    depth = depth.view_as(given.depth).requires_grad_()
    motion = torch.cat(given.found(depth=depth), dim=1)
    assert not motion.any()
    (gradient,) = torch.autograd.grad(motion.sum(), depth)
    assert not gradient.any()


def test_flows_that_fit_nothing_leave_finite_motions_and_gradients():
    generator = torch.Generator().manual_seed(5)
    coarse = 6 * torch.randn(64, 2, 4, 6, generator=generator)
    flow = torch.nn.functional.interpolate(coarse, size=SIZE, mode="bilinear", align_corners=True)
    depth = (2 + 8 * torch.rand(64, 1, *SIZE, generator=generator)).requires_grad_()
    camera = torch.tensor([[80.0, 0, 48], [0, 80, 32], [0, 0, 1]]).expand(64, 3, 3)
    motion = camera_motion(flow, -flow, depth, camera)
    (gradient,) = torch.autograd.grad(motion.square().sum(), depth)
    assert bool(motion.isfinite().all())
    assert bool(gradient.isfinite().all())
    assert motion[:, :3].norm(dim=1).max() < 1


@pytest.mark.parametrize("size", [(1, 5000), (4, 4000), (4, 4)])
def test_pictures_of_odd_sizes(size):
    motion = camera_motion(
        torch.zeros(1, 2, *size), torch.zeros(1, 2, *size), torch.ones(1, 1, *size), torch.eye(3)[None]
    )
    assert motion.abs().max() < 1e-5


@pytest.mark.parametrize(
    "changed", [{"depth": 0.0}, {"flow": torch.nan}, {"flow": 1e9}, {"backward": torch.nan}, {"depth": torch.nan}]
)
def test_where_nothing_can_be_seen_nothing_moved(changed):
    given = pairs("indoor", 0)
    (name, value), *_ = changed.items()
    spoilt = getattr(given, name).clone()
    spoilt[1:] = value
    turn, shift = given.found(**{name: spoilt})
    assert not turn[1:].any()
    assert not shift[1:].any()
    assert degrees(turn[:1], given.turn[:1]) < 0.005
