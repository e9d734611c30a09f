from __future__ import annotations

import numpy as np
import pytest

from weightsearch.data.shapes import Box, Sphere, Texture, carried, cast, intrinsics_of, pixels_of, pose_of, project

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


def test_a_thing_that_moves_takes_its_texture_along():
    """Points of an object keep their colours when it is turned and shifted."""
    pattern = Texture(np.array([[0.1, 0.2, 0.3], [0.9, 0.8, 0.6]]), 0.3, np.full((3, 3), 2.0), np.arange(3.0))
    for start, end in (
        (
            Box(np.array([0.2, 0.1, 4.0]), np.array([0.8, 0.7, 0.6]), 0.3, (pattern,)),
            Box(np.array([-0.5, 0.3, 5.0]), np.array([0.8, 0.7, 0.6]), 0.9, (pattern,)),
        ),
        (
            Sphere(np.array([0.2, 0.1, 4.0]), 0.9, pattern, 0.3),
            Sphere(np.array([-0.5, 0.3, 5.0]), 0.9, pattern, 0.9),
        ),
    ):
        seen = cast((start,), np.eye(4), intrinsics_of((40, 60)), (40, 60))
        mine = seen.hit
        normals, colours = start.surface(seen.origin, seen.directions[mine], seen.distance[mine])
        points = carried(seen.points[mine], start, end)
        turn = np.array([[np.cos(0.6), 0, np.sin(0.6)], [0, 1, 0], [-np.sin(0.6), 0, np.cos(0.6)]])
        outwards = normals @ turn.T
        again, found = end.surface(np.zeros(3), *_rays_to(points, outwards))
        np.testing.assert_allclose(again, outwards, atol=1e-9)
        assert mine.sum() > 200
        assert colours.std(axis=0).min() > 0.05
        assert (np.abs(found - colours).max(axis=1) < 1e-6).mean() > 0.99  # others lie on the edge of a tile


def _rays_to(points, outwards):
    """Directions and distances from the origin for rays that end at these points; all of them must face it here."""
    distance = np.linalg.norm(points, axis=1)
    directions = points / distance[:, None]
    assert ((directions * outwards).sum(axis=1) < 0).mean() > 0.5
    return directions, distance


def test_what_a_camera_sees_is_projected_to_where_it_sees_it():
    pose, intrinsics = pose_of((0.3, -0.2, 1.0), 0.7, -0.2), intrinsics_of((30, 40))
    walls = Box(np.zeros(3), np.array([4.0, 4.0, 3.0]), 0.2, (PLAIN,), inside=True)
    seen = cast((walls,), pose, intrinsics, (30, 40))
    vectors = seen.points - pose[:3, 3]
    np.testing.assert_allclose(project(vectors, pose, intrinsics), pixels_of((30, 40)), atol=1e-9)
    np.testing.assert_allclose(project(7 * vectors, pose, intrinsics), pixels_of((30, 40)), atol=1e-9)
    assert np.isnan(project(-vectors, pose, intrinsics)).all()
    assert pixels_of((30, 40))[41].tolist() == [1, 1]
