"""Projection, warping, visibility and epipolar lines, against computed video and real frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.video import batch_of, dataset
from weightsearch.data.batch import Batch
from weightsearch.data.images import resize_colour, resize_depth, resize_intrinsics
from weightsearch.data.sources.seven_scenes import SevenScenes
from weightsearch.geometry.camera import back_project, inverse_intrinsics, pixel_grid, rigid_flow
from weightsearch.geometry.epipolar import epipolar_distance, fundamental_matrix
from weightsearch.geometry.occlusion import visible
from weightsearch.geometry.pose import pose_matrix
from weightsearch.geometry.warp import inside, warp
from weightsearch.losses.photometric_error import photometric_error


@pytest.fixture(scope="module", params=["driving", "indoor"])
def video(request, tmp_path_factory):
    """A camera's way through a scene in which things move: every frame with its neighbours, in float64."""
    folder = tmp_path_factory.mktemp("video")
    near = "0.3" if request.param == "indoor" else "2.0"
    data = dataset(folder, f"data.variety={request.param}", "data.size=[96, 128]", f"data.min_depth={near}")
    batch = batch_of(data)
    beside = data.splits["train"][:, None] + np.array(data.offsets)
    return Video(**vars(batch), neighbours_depth=torch.from_numpy(np.array(data.frames.depth[beside]))[:, :, None])


@dataclass(frozen=True)
class Video(Batch):
    """neighbours_depth: metres, [B, S, 1, H, W]."""

    neighbours_depth: torch.Tensor | None = None


def pair(batch, number):
    """Depth, pose, intrinsics, true flow and what stands still of the frame and one of its neighbours."""
    pose = batch.neighbours.pose[:, number].double()
    still = ~batch.motion.moving & (batch.depth > 0)
    return batch.depth.double(), pose, batch.intrinsics.double(), batch.motion.flow[:, number].double(), still


def test_the_inverse_of_intrinsics():
    matrix = torch.tensor([[100.0, 0.3, 60], [0, 90, 40], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(inverse_intrinsics(matrix), torch.linalg.inv(matrix))


def test_points_project_back_to_their_pixels(video):
    depth, _, intrinsics, *_ = pair(video, 0)
    points = back_project(depth.clamp(min=1), intrinsics)
    pixels = torch.einsum("bij,bjhw->bihw", intrinsics, points)
    grid = pixel_grid((96, 128), depth)
    torch.testing.assert_close(pixels / pixels[:, 2:], grid.expand_as(points), atol=1e-9, rtol=0)
    torch.testing.assert_close(points[:, 2:], depth.clamp(min=1))


@pytest.mark.parametrize("number", [0, 1])
def test_the_flow_of_a_still_scene_is_the_true_one(video, number):
    depth, pose, intrinsics, flow, still = pair(video, number)
    found, far = rigid_flow(depth, pose, intrinsics)
    known = still & flow.isfinite().all(dim=1, keepdim=True) & (far > 0.1)
    assert known.float().mean() > 0.5
    error = (found - flow).norm(dim=1, keepdim=True)[known]
    assert float(error.max()) < 1e-4 * max(1.0, float(flow.nan_to_num().abs().max()))


@pytest.mark.parametrize("number", [0, 1])
def test_true_flow_of_what_stands_still_lies_on_the_epipolar_lines(video, number):
    _, pose, intrinsics, flow, still = pair(video, number)
    known = still & flow.isfinite().all(dim=1, keepdim=True)
    distance, _ = epipolar_distance(flow.nan_to_num(), pose, intrinsics)
    assert float(distance[known].max()) < 1e-3
    moving = video.motion.moving & flow.isfinite().all(dim=1, keepdim=True)
    assert float(distance[moving].mean()) > 0.02  # what moves by itself does not


def test_epipolar_distance_by_points_of_two_cameras():
    """Independently: the normal distance of a pixel from the picture of a ray."""
    generator = torch.Generator().manual_seed(0)
    pose = pose_matrix(torch.tensor([[0.02, -0.1, 0.03, 0.4, -0.2, 0.7]], dtype=torch.float64))
    intrinsics = torch.tensor([[[80.0, 0, 31], [0, 85, 23], [0, 0, 1]]], dtype=torch.float64)
    flow = 5 * torch.randn(1, 2, 48, 64, generator=generator, dtype=torch.float64)
    near = back_project(torch.full((1, 1, 48, 64), 3.0, dtype=torch.float64), intrinsics)
    seen = []
    for factor in (1.0, 4.0):  # two points of each pixel's ray
        points = torch.einsum("bij,bjhw->bihw", pose[:, :3, :3], factor * near) + pose[:, :3, 3, None, None]
        pixels = torch.einsum("bij,bjhw->bihw", intrinsics, points)
        seen.append(pixels[:, :2] / pixels[:, 2:])
    along = seen[1] - seen[0]
    there = pixel_grid((48, 64), flow)[:2] + flow - seen[0]
    expected = (along[:, 0] * there[:, 1] - along[:, 1] * there[:, 0]).abs() / along.norm(dim=1)
    distance, known = epipolar_distance(flow, pose, intrinsics)
    assert bool(known.all())
    torch.testing.assert_close(distance[:, 0], expected, rtol=1e-6, atol=1e-9)
    assert int(torch.linalg.matrix_rank(fundamental_matrix(pose, intrinsics)[0], rtol=1e-9)) == 2


@pytest.mark.parametrize("focal", [80.0, 500.0, 2000.0])
def test_epipolar_distance_beside_the_epipole(focal):
    """A camera that drives straight on, and a flow that leads three pixels down: the distance from a line through the
    epipole and a point that lies x pixels beside it and y below is 3 x / |(x, y)|."""
    pose = pose_matrix(torch.tensor([[0.0, 0, 0, 0, 0, -1.5]], dtype=torch.float64))
    intrinsics = torch.tensor([[[focal, 0, 20], [0, focal, 12], [0, 0, 1]]], dtype=torch.float64)
    flow = torch.tensor([0.0, 3.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 25, 41)
    y, x = torch.meshgrid(torch.arange(25.0) - 12, torch.arange(41.0) - 20, indexing="ij")
    expected = (3 * x.abs() / (x**2 + y**2).sqrt()).nan_to_num(0).double()
    distance, known = epipolar_distance(flow, pose, intrinsics)
    torch.testing.assert_close(distance[0, 0], expected, rtol=1e-5, atol=1e-9)
    assert (~known[0, 0]).nonzero().tolist() == [[12, 20]]  # the epipole itself
    single, _ = epipolar_distance(flow.float(), pose.float(), intrinsics.float())
    torch.testing.assert_close(single[0, 0], expected.float(), rtol=1e-2, atol=1e-3)


def test_a_camera_that_only_turns_has_no_lines_and_no_gradient_that_explodes():
    pose = pose_matrix(torch.tensor([[0.1, 0.0, 0.0, 0.0, 0.0, 0.0]])).requires_grad_()
    intrinsics = torch.tensor([[[80.0, 0, 31], [0, 85, 23], [0, 0, 1]]])
    distance, known = epipolar_distance(torch.ones(1, 2, 48, 64), pose, intrinsics)
    assert not bool(known.any())
    distance.sum().backward()
    assert float(distance.detach().abs().max()) == 0
    assert bool(pose.grad.isfinite().all())


@pytest.mark.parametrize("flow", [(3.0, 0.0), (0.0, -2.0), (-5.0, 4.0)])
def test_warping_by_whole_pixels_is_a_shift(flow):
    image = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor(flow).view(1, 2, 1, 1).expand(2, 2, 20, 30)
    there = inside(steps)
    expected = torch.roll(image, (-int(flow[1]), -int(flow[0])), dims=(2, 3))
    found = warp(image, steps)
    torch.testing.assert_close(found[there.expand_as(found)], expected[there.expand_as(found)], atol=1e-5, rtol=0)
    share = (1 - abs(flow[0]) / 30) * (1 - abs(flow[1]) / 20)
    assert float(there.float().mean()) == pytest.approx(share)


def test_warping_between_pixels_is_linear():
    ramp = torch.arange(30.0).expand(1, 1, 20, 30) + 2 * torch.arange(20.0)[:, None]
    flow = torch.tensor([0.25, -0.5]).view(1, 2, 1, 1).expand(1, 2, 20, 30)
    there = inside(flow)
    torch.testing.assert_close(warp(ramp, flow)[there], (ramp + 0.25 - 1)[there], atol=1e-4, rtol=0)


@pytest.mark.parametrize("number", [0, 1])
def test_computed_frames_are_made_from_their_neighbours(video, number):
    """Where a pixel is seen in both frames, true depth and pose show it within what bilinear sampling loses at the
    edges of tiles: less than a third of the error of the frame as it is."""
    depth, pose, intrinsics, flow, still = pair(video, number)
    flow, far = rigid_flow(depth, pose, intrinsics)
    other = video.neighbours.image[:, number].double()
    # Seen in both: the neighbour's own depth at that place is the point's.
    found = warp(video.neighbours_depth[:, number].double(), flow)
    both = still & inside(flow) & ((found - far).abs() < 0.02 * far)
    image = video.image.double()
    made, as_it_is = (warp(other, flow) - image).abs().mean(dim=1, keepdim=True), (other - image).abs().mean(1, True)
    assert both.float().mean() > 0.4
    assert float(made[both].median()) < 0.01
    assert float(made[both].mean()) < 0.34 * float(as_it_is[both].mean())


def test_what_comes_back_to_where_it_left_is_visible():
    """A square that moves by 6 pixels before a still ground hides what it comes to and uncovers what it leaves."""
    flow, backward = torch.zeros(1, 2, 40, 60), torch.zeros(1, 2, 40, 60)
    flow[:, 0, 10:30, 20:40] = 6
    backward[:, 0, 10:30, 26:46] = -6
    expected = torch.ones(1, 1, 40, 60, dtype=torch.bool)
    expected[..., 10:30, 40:46] = False  # ground that the square will hide
    assert torch.equal(visible(flow, backward), expected)
    away = torch.full((1, 2, 40, 60), 100.0)
    assert not visible(away, torch.zeros(1, 2, 40, 60)).any()
    assert not visible(away, -away).any()  # it would come back, but leaves the picture


def seven_scenes(data_root: Path, step: int, **options):
    """The share of the photometric error that warping by true depth and pose leaves, mean of ten pairs, at 240x320."""
    source = SevenScenes(root=data_root / "7scenes" / "redkitchen", **options)
    size = (240, 320)
    before, after = [], []
    for index in range(20, 420, 40):
        frame, other = source.read(0, index), source.read(0, index + step)
        image, beside = (
            torch.from_numpy(resize_colour(one.image, size).copy()).permute(2, 0, 1)[None].double() / 255
            for one in (frame, other)
        )
        depth = torch.from_numpy(resize_depth(frame.depth, size))[None, None].double()
        intrinsics = torch.from_numpy(resize_intrinsics(frame.intrinsics, (480, 640), size))[None]
        pose = torch.from_numpy(np.linalg.inv(other.pose) @ frame.pose)[None]
        flow, far = rigid_flow(depth, pose, intrinsics)
        seen = inside(flow) & (depth > 0) & (far > 0.1)
        after.append(float(photometric_error(image, warp(beside, flow), 0.0)[seen].mean()))
        before.append(float(photometric_error(image, beside, 0.0)[seen].mean()))
    return sum(after) / sum(before)


def test_real_frames_are_made_from_their_neighbours(data_root):
    """By the intrinsics that the data set names, by those that its colour pictures fit, and with depth brought into the
    colour camera: each better than the one before."""
    named = seven_scenes(data_root, 5)
    fitted = seven_scenes(data_root, 5, focal=525.0)
    brought = seven_scenes(data_root, 5, focal=525.0, depth_focal=585.0)
    assert named < 0.5
    assert fitted < 0.42
    assert brought < fitted < named
