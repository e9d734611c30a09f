from __future__ import annotations

import numpy as np
import pytest

from weightsearch.data.shapes import cast, intrinsics_of
from weightsearch.data.sources.procedural import AHEAD, EYE, PERIOD, Procedural, shapes_at
from weightsearch.errors import OptionError

# Of scenes without things that move, at a pace of 1: variety, video, index, and the sums of the picture, the depth and
# the pose's upper three rows.
KNOWN = [
    ("indoor", 0, 0, 261320, 1768.23461, -1.07835808976),
    ("indoor", 0, 11, 251777, 1786.78505, -1.40326399587),
    ("indoor", 0, 22, 246143, 2473.27604, -0.607329389438),
    ("indoor", 0, 33, 261482, 2342.25091, 0.927812238738),
    ("indoor", 1, 0, 234260, 2000.51649, 2.8805010081),
    ("indoor", 1, 11, 247558, 2427.45265, -0.631824729951),
    ("indoor", 1, 22, 253480, 2113.61249, -0.748950888332),
    ("indoor", 1, 33, 264307, 2017.41795, 0.485812686572),
    ("indoor", 2, 0, 162083, 1808.57791, 2.75938906533),
    ("indoor", 2, 11, 258516, 2096.03466, 2.38334431457),
    ("indoor", 2, 22, 318726, 1738.11424, 1.09230709059),
    ("indoor", 2, 33, 285513, 1607.11218, 0.908434995789),
    ("driving", 0, 0, 239310, 9990.26107, 3.51916279956),
    ("driving", 0, 11, 218352, 9355.67027, 9.01976966598),
    ("driving", 0, 22, 214962, 9460.27704, 14.3613925695),
    ("driving", 0, 33, 213293, 8911.42882, 20.8300987402),
    ("driving", 1, 0, 258374, 10353.2951, 2.80550432662),
    ("driving", 1, 11, 252950, 10309.0258, 11.1602904646),
    ("driving", 1, 22, 253070, 10210.5068, 19.1670365497),
    ("driving", 1, 33, 255101, 10629.677, 26.7005133707),
    ("driving", 2, 0, 219669, 10060.2538, 2.91638742242),
    ("driving", 2, 11, 222949, 9751.09517, 14.1616163558),
    ("driving", 2, 22, 227616, 9182.89089, 25.3674169837),
    ("driving", 2, 33, 226857, 8849.3808, 36.5365308064),
]


@pytest.mark.parametrize("variety", ["indoor", "driving"])
def test_scenes_in_which_nothing_moves_are_the_ones_they_have_always_been(variety):
    source = Procedural(size=(24, 32), variety=variety, scenes=3, frames=40, seed=5)
    for _, video, index, picture, depth, pose in (row for row in KNOWN if row[0] == variety):
        frame = source.read(video, index)
        assert frame.image.sum(dtype=int) == pytest.approx(picture, abs=5)  # rounding differs between processors
        assert frame.depth.sum(dtype=float) == pytest.approx(depth, rel=1e-7)
        assert frame.pose[:3].sum() == pytest.approx(pose, rel=1e-9)
        assert not source.moving(video, index).any()


@pytest.mark.parametrize("variety", ["indoor", "hall", "driving"])
def test_a_camera_of_twice_the_pace_is_where_the_other_is_after_twice_the_frames(variety):
    slow = Procedural(size=(16, 24), variety=variety, scenes=1, seed=3)
    fast = Procedural(size=(16, 24), variety=variety, scenes=1, seed=3, pace=2)
    for index in (0, 7, 19):
        one, other = slow.read(0, 2 * index), fast.read(0, index)
        np.testing.assert_allclose(other.pose, one.pose, atol=1e-12)
        np.testing.assert_allclose(other.depth, one.depth, rtol=1e-6)


@pytest.mark.parametrize("variety", ["indoor", "hall", "driving"])
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


def test_halls_have_every_depth_from_half_a_metre_to_15():
    source = Procedural(size=(48, 64), variety="hall", scenes=6, frames=40)
    depth = np.stack([source.read(hall, index).depth for hall in range(6) for index in range(0, 40, 5)])
    assert np.isfinite(depth).all()
    assert depth.min() > 0.3  # the camera runs into nothing
    assert ((depth > 0.5) & (depth < 15)).mean() > 0.97
    shares, _ = np.histogram(depth, bins=np.r_[0.5, 1:16], density=False)
    assert (shares / depth.size > 0.005).all()
    assert [video.name for video in source.videos()] == [f"hall {number}" for number in range(6)]
    assert source.read(2, 3).name == "hall 2, frame 3"


def test_what_a_hall_does_not_have_is_refused():
    with pytest.raises(OptionError, match="moving: found 2; in a hall nothing moves"):
        Procedural(size=(32, 32), variety="hall", moving=2)
    with pytest.raises(OptionError, match="queues: applies to streets"):
        Procedural(size=(32, 32), variety="hall", queues=0.5)


@pytest.mark.parametrize("variety", ["indoor", "hall"])
def test_the_camera_moves_smoothly(variety):
    room = Procedural(size=(32, 32), variety=variety, scenes=1).scenes[0]
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
        seen = cast(shapes_at(street, index), pose, intrinsics_of((64, 96)), (64, 96))
        below = seen.points.reshape(64, 96, 3)[-1, 40:56]
        np.testing.assert_allclose(below[:, 1], EYE - 0.02, atol=1e-9)


def test_the_street_goes_on_for_ever():
    """Far down the same houses come again; what is left out of a frame is out of sight or far away."""
    street = Procedural(size=(64, 96), variety="driving", scenes=1).scenes[0]
    far = 1000
    here = street.pose(far)[2, 3]
    assert here > 3 * PERIOD
    shapes = shapes_at(street, far)
    assert len(shapes) > 10
    assert max(shape.centre[2] for shape in shapes) <= here + AHEAD
    assert (cast(shapes, street.pose(far), intrinsics_of((64, 96)), (64, 96)).depth > 0).mean() > 0.5
    steps = [np.linalg.norm(street.pose(i + 1)[:3, 3] - street.pose(i)[:3, 3]) for i in range(40)]
    assert min(steps) > 0.4
    assert max(steps) < 1.3
