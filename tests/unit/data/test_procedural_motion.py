from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from weightsearch.data.shapes import Sphere
from weightsearch.data.source import Motion, Moving
from weightsearch.data.sources.procedural import EYE, TURNING, Procedural
from weightsearch.errors import OptionError
from weightsearch.plugins import build

VARIETIES = ["indoor", "driving"]
SIZE = (72, 108)
ROWS, COLUMNS = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
PIXELS = np.stack([COLUMNS, ROWS], axis=-1).astype(float)


@cache
def source_of(variety):
    return Procedural(size=SIZE, variety=variety, scenes=3, frames=40, seed=11, moving=16)


@cache
def frame_of(variety, video, index):
    return source_of(variety).read(video, index)


def turned(points, angle):
    """About the upright axis, right to left for what is ahead."""
    c, s = np.cos(angle), np.sin(angle)
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([c * x + s * z, y, c * z - s * x], axis=-1)


def away(shape, points):
    """Metres from the points to the thing's surface, negative within it."""
    local = turned(points - shape.centre, -shape.yaw)
    if isinstance(shape, Sphere):
        return np.linalg.norm(local, axis=-1) - shape.radius
    over = np.abs(local) - shape.half
    return np.linalg.norm(np.maximum(over, 0), axis=-1) + np.minimum(over.max(axis=-1), 0)


def world_points(frame):
    """[H, W, 3], from the depth."""
    camera = np.dstack([PIXELS, np.ones(SIZE)]) @ np.linalg.inv(frame.intrinsics).T * frame.depth[..., None]
    return camera @ frame.pose[:3, :3].T + frame.pose[:3, 3]


def projected(points, frame):
    """Pixels [H, W, 2] and depth [H, W] of points of the world in a frame."""
    camera = (points - frame.pose[:3, 3]) @ frame.pose[:3, :3]
    image = camera @ frame.intrinsics.T
    return image[..., :2] / np.where(image[..., 2:] > 0, image[..., 2:], np.nan), camera[..., 2]


def followed(variety, video, index, offset):
    """Where the points that a frame shows are `offset` frames later, [H, W, 3], found from its depth and from where the
    things are: a point goes with the thing on whose surface it lies. And which points go with any."""
    scene, points = source_of(variety).scenes[video], world_points(frame_of(variety, video, index))
    later, moved = points.copy(), np.zeros(SIZE, dtype=bool)
    known = frame_of(variety, video, index).depth > 0
    for start, end in zip(scene.moving(index, index), scene.moving(index, index + offset), strict=True):
        mine = known & (np.abs(away(start, points)) < 1e-4)
        later[mine] = turned(points[mine] - start.centre, end.yaw - start.yaw) + end.centre
        moved |= mine
    return later, moved


def sampled(picture, places):
    """Bilinear, at pixels [..., 2] inside of the picture."""
    x, y = np.clip(places[..., 0], 0, SIZE[1] - 1.001), np.clip(places[..., 1], 0, SIZE[0] - 1.001)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    a, b = (x - left)[..., None], (y - top)[..., None]
    picture = picture.reshape(*SIZE, -1)
    above = (1 - a) * picture[top, left] + a * picture[top, left + 1]
    below = (1 - a) * picture[top + 1, left] + a * picture[top + 1, left + 1]
    return (1 - b) * above + b * below


def visible(variety, video, index, offset):
    """Pixels [H, W] whose point is in the other picture, those of them that nothing hides there, and the difference of
    the other frame's depth there from the point's, relative."""
    other = frame_of(variety, video, index + offset)
    places, depth = projected(followed(variety, video, index, offset)[0], other)
    inside = (places >= 0).all(axis=-1) & (places <= [SIZE[1] - 1, SIZE[0] - 1]).all(axis=-1)
    inside &= frame_of(variety, video, index).depth > 0
    found = sampled(other.depth, np.where(inside[..., None], places, 0))[..., 0]
    error = np.where(inside, np.abs(found - depth) / depth, np.inf)
    return inside, error < 0.02, error


CASES = [(0, 5, 1), (1, 20, -1), (2, 30, 2), (0, 12, -3), (1, 3, 3), (2, 17, -2)]  # video, index, offset


@pytest.mark.parametrize("variety", VARIETIES)
def test_the_other_picture_drawn_back_along_the_flow_is_the_picture(variety):
    warped, unwarped, of_moving, of_moving_unwarped = [], [], [], []
    for video, index, offset in CASES:
        image, other = (frame_of(variety, video, at).image / 255 for at in (index, index + offset))
        flow, moving = (
            source_of(variety).flow(video, index, offset),
            source_of(variety).moving(video, index),
        )
        _, seen, _ = visible(variety, video, index, offset)
        found = np.abs(sampled(other, np.where(seen[..., None], PIXELS + flow, 0)) - image)
        for errors, unmoved, where in (
            (warped, unwarped, seen),
            (of_moving, of_moving_unwarped, seen & moving),
        ):
            errors.append(found[where].ravel())
            unmoved.append(np.abs(other - image)[where].ravel())
        assert seen.mean() > 0.3
        assert np.median(found[seen]) < 0.02
        assert np.median(found[seen]) < 0.5 * np.median(np.abs(other - image)[seen])
    assert np.concatenate(warped).mean() < 0.5 * np.concatenate(unwarped).mean()
    assert np.median(np.concatenate(of_moving)) < 0.02
    assert np.concatenate(of_moving).mean() < 0.6 * np.concatenate(of_moving_unwarped).mean()


@pytest.mark.parametrize("variety", VARIETIES)
def test_flow_is_what_depth_poses_intrinsics_and_the_things_motion_say(variety):
    """To 1e-3 pixels: what stands by depth and poses alone, and what moves by its own motion as well."""
    beside = []
    for video, index, offset in CASES:
        frame, other = frame_of(variety, video, index), frame_of(variety, video, index + offset)
        flow, moving = source_of(variety).flow(video, index, offset), source_of(variety).moving(video, index)
        assert flow.shape == (*SIZE, 2)
        assert flow.dtype == np.float32
        assert moving.dtype == np.bool_
        still, depth = projected(world_points(frame), other)
        known = (frame.depth > 0) & (depth > 0.05)
        np.testing.assert_allclose(flow[known & ~moving], (still - PIXELS)[known & ~moving], atol=1e-3, rtol=1e-5)
        points, moved = followed(variety, video, index, offset)
        assert np.array_equal(moved, moving)
        places, depth = projected(points, other)
        ahead = moving & (depth > 0.05)
        np.testing.assert_allclose(flow[ahead], (places - PIXELS)[ahead], atol=1e-3, rtol=1e-5)
        beside.append(np.linalg.norm(flow - (still - PIXELS), axis=-1)[ahead] / abs(offset))
    found = np.concatenate(beside)
    found = found[np.isfinite(found)]  # where the point would be behind the camera if it stood
    assert len(found) > 2000
    assert (found > 0.2).mean() > 0.75
    assert np.median(found) > 0.5


@pytest.mark.parametrize("variety", VARIETIES)
def test_a_followed_point_has_the_other_frames_depth(variety):
    errors, of_moving = [], []
    for video, index, offset in CASES:
        inside, _, error = visible(variety, video, index, offset)
        errors.append(error[inside])
        of_moving.append(error[inside & source_of(variety).moving(video, index)])
    for found in (np.concatenate(errors), np.concatenate(of_moving)):
        assert len(found) > 1500
        assert np.median(found) < 2e-3  # what the depth between pixels makes of it
        assert (found < 0.02).mean() > 0.7  # the others are hidden or at an edge


@pytest.mark.parametrize("variety", VARIETIES)
def test_flow_there_and_back_is_none(variety):
    for video, index, offset in CASES:
        _, seen, _ = visible(variety, video, index, offset)
        there = source_of(variety).flow(video, index, offset)
        back = source_of(variety).flow(video, index + offset, -offset)
        around = there + sampled(back, np.where(seen[..., None], PIXELS + there, 0))
        length = np.linalg.norm(around, axis=-1)[seen]
        assert np.median(length) < 0.02
        assert (length < 0.2).mean() > 0.9
        assert np.abs(source_of(variety).flow(video, index, 0)).max() < 1e-6


def test_the_sky_is_moved_by_the_cameras_rotation_alone():
    for video, index, offset in CASES:
        frame, other = (frame_of("driving", video, at) for at in (index, index + offset))
        sky = frame.depth == 0
        rotation = other.pose[:3, :3].T @ frame.pose[:3, :3]
        image = np.dstack([PIXELS, np.ones(SIZE)]) @ (frame.intrinsics @ rotation @ np.linalg.inv(frame.intrinsics)).T
        expected = image[..., :2] / image[..., 2:] - PIXELS
        flow = source_of("driving").flow(video, index, offset)
        assert sky.sum() > 50
        np.testing.assert_allclose(flow[sky], expected[sky], atol=1e-4)


def test_flow_is_not_a_number_exactly_where_the_point_is_behind_the_other_camera():
    source = Procedural(size=SIZE, variety="driving", scenes=1, seed=1, pace=8.0)
    frame, other = source.read(0, 4), source.read(0, 6)
    depth = projected(world_points(frame), other)[1]
    unknown = np.isnan(source.flow(0, 4, 2))
    assert np.array_equal(unknown[..., 0], unknown[..., 1])
    assert np.array_equal(unknown[..., 0], (frame.depth > 0) & (depth <= 0))
    assert 0.05 < unknown.mean() < 0.9


@pytest.mark.parametrize("variety", VARIETIES)
def test_things_move_only_where_they_are_asked_for(variety):
    source = Procedural(size=(16, 24), variety=variety, scenes=1)
    assert isinstance(source, Motion)
    assert isinstance(source, Moving)
    assert source.scenes[0].moving(3, 3) == ()
    assert source.moving(0, 3).shape == (16, 24)
    assert not source.moving(0, 3).any()
    assert Procedural(size=(16, 24), variety=variety, scenes=1, moving=16).moving(0, 3).any()


@pytest.mark.parametrize("variety", VARIETIES)
def test_a_fair_share_of_the_pixels_moves(variety):
    shares = []
    for seed in range(6):
        source = Procedural(size=(48, 72), variety=variety, scenes=1, seed=seed, moving=16)
        shares.append([source.moving(0, index).mean() for index in range(0, 200, 10)])
    assert 0.05 < np.mean(shares) < 0.2
    assert all(0.03 < np.mean(one) < 0.3 for one in shares)
    assert (np.array(shares) > 0).mean() > 0.9
    assert np.max(shares) < 0.5


@pytest.mark.parametrize("moving", [1, 8, 32])
@pytest.mark.parametrize("variety", VARIETIES)
def test_nothing_that_moves_comes_near_the_camera(variety, moving):
    for pace in (1.0, 2.5):
        source = Procedural(size=(16, 24), variety=variety, scenes=4, seed=2, moving=moving, pace=pace)
        for scene in source.scenes:
            for index in range(0, 200, 5):
                for shape in scene.moving(index, index):
                    assert away(shape, scene.pose(index)[:3, 3]) > 0.5


@pytest.mark.parametrize("moving", [4, 16, 32])
def test_things_in_a_room_keep_clear_of_its_walls_its_furniture_and_each_other(moving):
    corners = np.stack(np.meshgrid(*[[-1, 1]] * 3), axis=-1).reshape(-1, 3)
    for room in Procedural(size=(16, 24), scenes=4, seed=4, moving=moving).scenes:
        walls, *furniture = room.standing(0)
        for index in range(0, 200, 5):
            things = room.moving(index, index)
            assert len(things) == moving
            for number, thing in enumerate(things):
                if isinstance(thing, Sphere):
                    outline = thing.centre + corners * thing.radius
                else:
                    outline = thing.centre + turned(corners * thing.half, thing.yaw)
                assert (np.abs(outline) < walls.half).all()
                for other in [*furniture, *things[:number]]:
                    across = np.hypot(*(thing.centre - other.centre)[[0, 2]]) - girth(thing) - girth(other)
                    above = abs(thing.centre[1] - other.centre[1]) - tall(thing) - tall(other)
                    assert max(across, above) > 0


def girth(shape):
    return shape.radius if isinstance(shape, Sphere) else np.hypot(shape.half[0], shape.half[2])


def tall(shape):
    return shape.radius if isinstance(shape, Sphere) else shape.half[1]


def test_things_in_a_room_go_at_a_walking_pace_on_ways_that_close():
    for room in Procedural(size=(16, 24), scenes=4, seed=6, moving=8).scenes:
        ways = np.array([[thing.centre for thing in room.moving(index, index)] for index in range(400)])
        steps = np.linalg.norm(np.diff(ways, axis=0), axis=-1)
        assert steps.max() < 0.2
        assert 0.02 < steps.mean() < 0.1
        assert np.abs(np.diff(ways, 2, axis=0)).max() < 0.02  # smooth
        once = 2 * np.pi / TURNING
        for start, end in zip(room.moving(0, 7.5), room.moving(0, 7.5 + once), strict=True):
            np.testing.assert_allclose(end.centre, start.centre, atol=1e-9)
            assert np.cos(end.yaw - start.yaw) == pytest.approx(1)
        yaws = np.array([[thing.yaw for thing in room.moving(index, index)] for index in range(2)])
        assert 0.01 < np.abs(yaws[1] - yaws[0]).min() < 0.05  # each turns, slowly


def test_cars_drive_slower_faster_and_the_other_way_and_into_nothing():
    for street in Procedural(size=(16, 24), variety="driving", scenes=4, seed=4, moving=16).scenes:
        camera = street.pose(1)[2, 3] - street.pose(0)[2, 3]
        speeds = np.array([car.speed for car in street.cars])
        assert len(speeds) == 16
        assert ((speeds > 0) & (speeds < 0.9 * camera)).any()
        assert (speeds > 1.1 * camera).any()
        assert (speeds < 0).any()
        for index in range(0, 200, 8):
            moving, later = street.moving(index, index), street.moving(index, index + 10)
            assert len(moving) >= 20  # two boxes a car
            steps = [(there.centre - here.centre) / 10 for here, there in zip(moving, later, strict=True)]
            assert all(np.abs(speeds - step[2]).min() < 1e-9 and np.abs(step[:2]).max() < 1e-9 for step in steps)
            standing = [shape for shape in street.standing(index) if np.abs(shape.centre[2]) > 0]
            for number, box in enumerate(moving):
                assert box.centre[1] + box.half[1] < EYE
                for other in [*standing, *moving[:number]]:
                    half = other.radius if isinstance(other, Sphere) else other.half
                    assert (np.abs(box.centre - other.centre) - box.half - half).max() > -1e-9


@pytest.mark.parametrize("variety", VARIETIES)
def test_pictures_flow_and_masks_are_the_same_in_every_instance_and_thread(variety):
    def made():
        return Procedural(size=(24, 36), variety=variety, scenes=2, frames=20, seed=9, moving=6, pace=1.5)

    def one(source, video, index):
        frame = source.read(video, index)
        parts = (frame.image, frame.depth, source.flow(video, index, 1), source.flow(video, index, -1))
        return b"".join(part.tobytes() for part in (*parts, source.moving(video, index)))

    places = [(video, index) for index in range(1, 19) for video in range(2)]
    shared = made()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: one(shared, *place), places * 2))
    assert found[: len(places)] == found[len(places) :]
    for position, (video, index) in list(enumerate(places))[::7]:
        source = made()
        flow = source.flow(video, index, 1)  # in another order
        assert one(source, video, index) == found[position]
        assert np.array_equal(flow, source.flow(video, index, 1), equal_nan=True)


@pytest.mark.parametrize("variety", VARIETIES)
def test_flow_grows_with_the_pace(variety):
    """Measured at the same places of the way."""
    lengths = []
    for pace in (0.5, 1.0, 2.0):
        source = Procedural(size=(24, 36), variety=variety, scenes=3, seed=1, pace=pace)
        flows = [source.flow(video, int(index / pace), 1) for video in range(3) for index in range(0, 60, 4)]
        lengths.append(np.nanmedian(np.linalg.norm(flows, axis=-1)))
    assert lengths[1] == pytest.approx(2 * lengths[0], rel=0.25)
    assert lengths[2] == pytest.approx(2 * lengths[1], rel=0.25)


@pytest.mark.parametrize("option", [{"moving": -1}, {"moving": 33}, {"pace": 0.0}, {"pace": 11.0}])
def test_options_have_bounds(option):
    context = {"size": (16, 24)}
    assert build("data", "procedural", {"moving": 4, "pace": 2}, context).moving(0, 0).shape == (16, 24)
    with pytest.raises(OptionError) as caught:
        build("data", "procedural", option, context)
    assert caught.value.option == next(iter(option))


class TestQueues:
    """Cars that stand in lanes of a street."""

    @staticmethod
    def streets(queues, scenes=60):
        return Procedural(
            size=SIZE, variety="driving", scenes=scenes, frames=40, seed=11, moving=12, queues=queues
        ).scenes

    def test_of_so_many_lanes_the_cars_stand(self):
        """A third of 180 lanes, 60 ± 6 (one standard deviation), have four standing cars each; the others' cars
        drive."""
        driving = np.array([len(street.cars) for street in self.streets(1 / 3)])
        assert set(driving % 4) == {0}
        assert 180 - driving.sum() // 4 == pytest.approx(60, abs=19)
        assert {len(street.cars) for street in self.streets(1.0, 5)} == {0}
        assert {len(street.cars) for street in self.streets(0.0, 5)} == {12}

    def test_who_stands_stays_where_it_is_and_is_no_moving_thing(self):
        """A street whose cars all stand shows cars in its lanes, the same ones in every frame, and none of them moves:
        its flow is that of depth and the camera alone."""
        source = Procedural(size=SIZE, variety="driving", scenes=1, frames=40, seed=11, moving=12, queues=1.0)
        empty = Procedural(size=SIZE, variety="driving", scenes=1, frames=40, seed=11, moving=12)
        lanes = [
            {tuple(shape.centre) for shape in street.standing(index) if abs(shape.centre[0]) < 5.8}
            for street in (source.scenes[0], empty.scenes[0])
            for index in (5, 6)
        ]
        assert len(lanes[0] & lanes[1]) == len(lanes[2] & lanes[3]) + 2 * 12  # bodies and cabins
        frame, other = source.read(0, 5), source.read(0, 6)
        assert not source.moving(0, 5).any()
        still, depth = projected(world_points(frame), other)
        known = (frame.depth > 0) & (depth > 0.05)
        np.testing.assert_allclose(source.flow(0, 5, 1)[known], (still - PIXELS)[known], atol=1e-3, rtol=1e-5)

    def test_without_cars_there_are_none(self):
        with pytest.raises(OptionError, match="set moving above 0"):
            Procedural(size=SIZE, variety="driving", queues=0.5)

    def test_a_room_has_none(self):
        with pytest.raises(OptionError, match="a room has no lanes"):
            Procedural(size=SIZE, moving=3, queues=0.5)
