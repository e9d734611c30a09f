from __future__ import annotations

import numpy as np
import pytest

from weightsearch.data.procedural import (
    AHEAD,
    EYE,
    PERIOD,
    Box,
    Procedural,
    Sphere,
    Texture,
    cast,
    intrinsics_of,
)

PLAIN = Texture(np.full((2, 3), 0.5), 1.0, np.zeros((3, 3)), np.zeros(3))


def depth_of(shapes, size):
    return cast(shapes, np.eye(4), intrinsics_of(size), size).depth


def test_depth_of_a_wall_is_its_distance_along_the_axis_everywhere():
    walls = Box(np.zeros(3), np.array([4.0, 4.0, 3.0]), 0.0, (PLAIN,), inside=True)
    depth = depth_of((walls,), (40, 60))
    np.testing.assert_allclose(depth, 3.0, rtol=1e-12)


def test_depth_of_a_sphere_on_the_axis_is_exact():
    walls = Box(np.zeros(3), np.array([9.0, 9.0, 9.0]), 0.0, (PLAIN,), inside=True)
    ball = Sphere(np.array([0.0, 0.0, 5.0]), 1.5, PLAIN)
    depth = depth_of((walls, ball), (41, 61))
    assert depth[20, 30] == pytest.approx(3.5, abs=1e-12)
    assert depth.max() == pytest.approx(9.0, abs=1e-12)


def test_a_turned_box_is_nearest_at_its_edge():
    walls = Box(np.zeros(3), np.array([9.0, 9.0, 9.0]), 0.0, (PLAIN,), inside=True)
    box = Box(np.array([0.0, 0.0, 4.0]), np.array([1.0, 1.0, 1.0]), np.pi / 4, (PLAIN,))
    depth = depth_of((walls, box), (41, 61))
    assert depth[20, 30] == pytest.approx(4 - np.sqrt(2), abs=1e-9)


@pytest.mark.parametrize("variety", ["indoor", "driving"])
def test_depth_pose_and_intrinsics_agree_between_frames(variety):
    """Points of one frame, carried into another by the poses, lie on that frame's surfaces."""
    source = Procedural(size=(96, 128), variety=variety, scenes=1, frames=8, seed=4)
    one, other = source.read(0, 2), source.read(0, 3)
    rows, columns = np.mgrid[0:96, 0:128]
    pixels = np.stack([columns, rows, np.ones_like(rows)], -1).reshape(-1, 3)
    points = (pixels @ np.linalg.inv(one.intrinsics).T) * one.depth.reshape(-1, 1)
    world = points @ one.pose[:3, :3].T + one.pose[:3, 3]
    there = (world - other.pose[:3, 3]) @ other.pose[:3, :3]
    image = there @ other.intrinsics.T
    x, y = image[:, 0] / image[:, 2], image[:, 1] / image[:, 2]
    inside = (x > 1) & (x < 126) & (y > 1) & (y < 94) & (there[:, 2] > 0) & (one.depth.ravel() > 0)
    found = other.depth[np.rint(y[inside]).astype(int), np.rint(x[inside]).astype(int)]
    error = np.abs(found - there[inside, 2]) / there[inside, 2]
    assert inside.mean() > 0.5
    assert np.median(error) < 0.005  # the rest of a pixel
    assert (error < 0.05).mean() > 0.9  # what remains is hidden in one of the frames


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others():
    def frame(seed):
        return Procedural(size=(32, 48), scenes=2, frames=4, seed=seed).read(1, 3)

    assert np.array_equal(frame(7).image, frame(7).image)
    assert np.array_equal(frame(7).depth, frame(7).depth)
    assert (frame(7).image != frame(8).image).mean() > 0.5


def test_frames_are_rooms_as_one_knows_them():
    source = Procedural(size=(48, 64), scenes=6, frames=40)
    frames = [source.read(room, index) for room in range(6) for index in (0, 20, 39)]
    depth = np.stack([frame.depth for frame in frames])
    assert np.isfinite(depth).all()
    assert depth.min() > 0.15
    assert depth.max() < 6.5
    assert np.quantile(depth, 0.95) - np.quantile(depth, 0.05) > 1.5
    assert all(frame.image.std() > 5 for frame in frames)
    assert [video.length for video in source.videos()] == [40] * 6


def test_the_camera_moves_smoothly():
    room = Procedural(size=(32, 32), scenes=1).scenes[0]
    steps = [np.linalg.norm(room.pose(i + 1)[:3, 3] - room.pose(i)[:3, 3]) for i in range(40)]
    assert max(steps) < 0.12
    for i in range(5):
        rotation = room.pose(i)[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_streets_have_a_road_below_and_a_sky_above():
    source = Procedural(size=(96, 320), variety="driving", scenes=3, frames=40)
    for video in range(3):
        for index in (0, 39):
            frame = source.read(video, index)
            assert np.isfinite(frame.depth).all()
            assert frame.depth[-10:].min() > 1.5
            assert frame.depth[-10:].max() < 15  # the road before the car
            known = frame.depth[frame.depth > 0]
            assert np.quantile(known, 0.95) - np.quantile(known, 0.05) > 10
            assert 0.003 < (frame.depth == 0).mean() < 0.5
            assert (frame.depth[60:] > 0).all()  # the sky is above the horizon
            assert frame.image.std() > 20


def test_the_road_lies_an_eye_s_height_below_the_camera():
    street = Procedural(size=(64, 96), variety="driving", scenes=1, seed=2).scenes[0]
    for index in (0, 7):
        pose = street.pose(index)
        seen = cast(street.shapes_at(index), pose, intrinsics_of((64, 96)), (64, 96))
        below = seen.points.reshape(64, 96, 3)[-1, 40:56]
        np.testing.assert_allclose(below[:, 1], EYE - 0.02, atol=1e-9)


def test_the_street_goes_on_for_ever():
    """Far down the same houses come again; what is left out of a frame is out of sight or far away."""
    street = Procedural(size=(64, 96), variety="driving", scenes=1).scenes[0]
    far = 1000
    here = street.pose(far)[2, 3]
    assert here > 3 * PERIOD
    shapes = street.shapes_at(far)
    assert len(shapes) > 10
    assert max(shape.centre[2] for shape in shapes) <= here + AHEAD
    assert (cast(shapes, street.pose(far), intrinsics_of((64, 96)), (64, 96)).depth > 0).mean() > 0.5
    steps = [np.linalg.norm(street.pose(i + 1)[:3, 3] - street.pose(i)[:3, 3]) for i in range(40)]
    assert min(steps) > 0.4
    assert max(steps) < 1.3
