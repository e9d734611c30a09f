"""The camera's motion from flow and depth, against computed video of which everything is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from weightsearch.data.procedural import Procedural
from weightsearch.geometry.motion import camera_motion
from weightsearch.geometry.occlusion import visible
from weightsearch.geometry.pose import axis_angle

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
    """Of .3 pixels each way at every pixel: far below a pixel's angle, .7 degrees."""
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
    """What becomes of the motion where depth is changed by a pattern, by differences and by the gradient."""
    given = pairs("driving", 0)
    pattern = torch.randn(given.depth.shape, generator=torch.Generator().manual_seed(3))
    size = torch.zeros((), requires_grad=True)
    flow = given.flow.clone().requires_grad_()

    def motion(amount):
        return torch.cat(given.found(depth=given.depth * (1 + amount * pattern), flow=flow), dim=1)

    step = 3e-4  # differences of flow stay far below SHARPEST, so that all pixels count alike
    with torch.no_grad():
        differences = (motion(step) - motion(-step)) / (2 * step)
    found = motion(size)
    derivatives = torch.stack([torch.autograd.grad(one, size, retain_graph=True)[0] for one in found.flatten()])
    torch.testing.assert_close(derivatives.view_as(differences), differences, rtol=0.05, atol=0.002)
    assert differences.abs().max() > 0.05
    assert torch.autograd.grad(found.sum(), flow, allow_unused=True) == (None,)


@pytest.mark.parametrize(
    "changed", [{"depth": 0.0}, {"flow": torch.nan}, {"flow": 1e9}, {"backward": torch.nan}, {"depth": torch.nan}]
)
def test_where_nothing_can_be_seen_nothing_moved(changed):
    given = pairs("indoor", 0)
    (name, value), *_ = changed.items()
    spoilt = getattr(given, name).clone()
    spoilt[1:] = value
    turn, shift = given.found(**{name: spoilt})
    if name != "backward":
        assert not turn[1:].any()
        assert not shift[1:].any()
    assert bool(torch.isfinite(turn).all())
    assert bool(torch.isfinite(shift).all())
    assert degrees(turn[:1], given.turn[:1]) < 0.005
