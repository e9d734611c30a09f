from __future__ import annotations

import numpy as np
import pytest

from weightsearch.data.procedural import Box, Procedural, Room, Sphere, Texture, camera_pose, cast, intrinsics_of

PLAIN = Texture(np.full((2, 3), 0.5), 1.0, np.zeros((3, 3)), np.zeros(3))


def room_of(*shapes):
    return Room(shapes, np.zeros(3), np.zeros((5, 3)))


def test_depth_of_a_wall_is_its_distance_along_the_axis_everywhere():
    walls = Box(np.zeros(3), np.array([4.0, 4.0, 3.0]), 0.0, (PLAIN,), inside=True)
    depth = cast(room_of(walls), np.eye(4), intrinsics_of((40, 60)), (40, 60))[0]
    np.testing.assert_allclose(depth, 3.0, rtol=1e-12)


def test_depth_of_a_sphere_on_the_axis_is_exact():
    walls = Box(np.zeros(3), np.array([9.0, 9.0, 9.0]), 0.0, (PLAIN,), inside=True)
    ball = Sphere(np.array([0.0, 0.0, 5.0]), 1.5, PLAIN)
    depth = cast(room_of(walls, ball), np.eye(4), intrinsics_of((41, 61)), (41, 61))[0]
    assert depth[20, 30] == pytest.approx(3.5, abs=1e-12)
    assert depth.max() == pytest.approx(9.0, abs=1e-12)


def test_a_turned_box_is_nearest_at_its_edge():
    walls = Box(np.zeros(3), np.array([9.0, 9.0, 9.0]), 0.0, (PLAIN,), inside=True)
    box = Box(np.array([0.0, 0.0, 4.0]), np.array([1.0, 1.0, 1.0]), np.pi / 4, (PLAIN,))
    depth = cast(room_of(walls, box), np.eye(4), intrinsics_of((41, 61)), (41, 61))[0]
    assert depth[20, 30] == pytest.approx(4 - np.sqrt(2), abs=1e-9)


def test_depth_pose_and_intrinsics_agree_between_frames():
    """Points of one frame, carried into another by the poses, lie on that frame's surfaces."""
    source = Procedural(size=(96, 128), rooms=1, frames=8, seed=4)
    one, other = source.read(0, 2), source.read(0, 3)
    rows, columns = np.mgrid[0:96, 0:128]
    pixels = np.stack([columns, rows, np.ones_like(rows)], -1).reshape(-1, 3)
    points = (pixels @ np.linalg.inv(one.intrinsics).T) * one.depth.reshape(-1, 1)
    world = points @ one.pose[:3, :3].T + one.pose[:3, 3]
    there = (world - other.pose[:3, 3]) @ other.pose[:3, :3]
    image = there @ other.intrinsics.T
    x, y = image[:, 0] / image[:, 2], image[:, 1] / image[:, 2]
    inside = (x > 1) & (x < 126) & (y > 1) & (y < 94) & (there[:, 2] > 0)
    found = other.depth[np.rint(y[inside]).astype(int), np.rint(x[inside]).astype(int)]
    error = np.abs(found - there[inside, 2]) / there[inside, 2]
    assert inside.mean() > 0.5
    assert np.median(error) < 0.005  # the rest of a pixel
    assert (error < 0.05).mean() > 0.9  # what remains is hidden in one of the frames


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others():
    def frame(seed):
        return Procedural(size=(32, 48), rooms=2, frames=4, seed=seed).read(1, 3)

    assert np.array_equal(frame(7).image, frame(7).image)
    assert np.array_equal(frame(7).depth, frame(7).depth)
    assert (frame(7).image != frame(8).image).mean() > 0.5


def test_frames_are_rooms_as_one_knows_them():
    source = Procedural(size=(48, 64), rooms=6, frames=40)
    frames = [source.read(room, index) for room in range(6) for index in (0, 20, 39)]
    depth = np.stack([frame.depth for frame in frames])
    assert np.isfinite(depth).all()
    assert depth.min() > 0.15
    assert depth.max() < 6.5
    assert np.quantile(depth, 0.95) - np.quantile(depth, 0.05) > 1.5
    assert all(frame.image.std() > 5 for frame in frames)
    assert [video.length for video in source.videos()] == [40] * 6


def test_the_camera_moves_smoothly():
    room = Procedural(size=(32, 32), rooms=1).rooms[0]
    steps = [np.linalg.norm(camera_pose(room, i + 1)[:3, 3] - camera_pose(room, i)[:3, 3]) for i in range(40)]
    assert max(steps) < 0.12
    for i in range(5):
        rotation = camera_pose(room, i)[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
