"""Procedural rooms and streets: ray-cast boxes and spheres with exact depth, intrinsics, camera poses, optical flow and
masks of moving objects.

Nothing is downloaded, and the same options give the same pixels. The unit of time is a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from weightsearch.data.shapes import (
    TURNING,
    Array,
    Box,
    Light,
    Orbit,
    Seen,
    Shape,
    Sphere,
    Sway,
    Texture,
    carried,
    cast,
    intrinsics_of,
    make_texture,
    pixels_of,
    pose_of,
    project,
    shifted,
)
from weightsearch.data.source import Frame, Video
from weightsearch.data.units import Unit
from weightsearch.errors import OptionError

SUPERSAMPLING: Final = 2
CACHED: Final = 16  # frames whose rays are cached: flow and mask are requested after the image
EYE: Final = 1.65  # height of a driving camera above the road, metres
PERIOD: Final = 140.0  # period of a street, metres
BEHIND: Final = 15.0  # visible length of a street behind the camera, metres
AHEAD: Final = 110.0  # visible length ahead of it, metres
CLEARANCE: Final = 0.55  # smallest distance between the camera and a moving object in a room, metres
ARC: Final = 2.4  # angle over which moving objects are spread in a room, radians
HEIGHTS: Final = (0.3, -0.25, 0.85)  # heights of their layers, metres below the room's centre
LANE: Final = 2.8  # distance of the lanes of a street with traffic, metres


class Procedural:
    """variety: `indoor`, a camera that rotates in a furnished room (0.3-6 m); `hall`, a camera that rotates between
    pillars and shelves in a hall (0.5-15 m); or `driving`, a camera that drives down a street between houses, parked
    cars and trees (from 2 m to the horizon, the sky without depth). scenes: number of scenes, each a video. frames:
    number of frames of a scene. seed: seed of the scene's layout and of the camera's path. moving: number of moving
    objects in a scene: boxes and spheres that circle a room at a walking pace, or cars on each 140 metres of a
    street; with moving objects the room or the street is wider. queues: probability that the cars of a street's lane
    stand still, as before a red light. pace: factor on the camera's speed along its path; moving objects in a room keep
    up with the camera's rotation, and the speed of cars is relative to the camera's. Raises OptionError for queues in a
    room or without cars, and for moving objects in a hall."""

    ground_truth: ClassVar = ("depth", "pose", "flow", "moving")

    unit = Unit()
    computed = True  # its frames cannot be damaged, so `data check` reads only some of them

    def __init__(
        self,
        *,
        size: tuple[int, int],
        variety: Literal["indoor", "hall", "driving"] = "indoor",
        scenes: Annotated[int, Field(ge=1, le=1000)] = 6,
        frames: Annotated[int, Field(ge=1, le=10000)] = 40,
        seed: Annotated[int, Field(ge=0)] = 0,
        moving: Annotated[int, Field(ge=0, le=32)] = 0,
        queues: Annotated[float, Field(ge=0, le=1)] = 0.0,
        pace: Annotated[float, Field(gt=0, le=10)] = 1.0,
    ) -> None:
        self.size = size
        self.count = frames
        if variety != "driving" and queues > 0:
            raise OptionError("queues", "applies to streets (variety: driving); a room has no lanes")
        if variety == "hall" and moving > 0:
            raise OptionError(
                "moving", f"found {moving}; in a hall nothing moves: leave it out, or set variety: indoor"
            )
        if queues > 0 and moving == 0:
            raise OptionError("queues", "applies to lanes of moving cars; set moving above 0")
        draws = [np.random.default_rng([seed, number]) for number in range(scenes)]
        self.kind = {"indoor": "room", "hall": "hall", "driving": "street"}[variety]
        self.scenes: list[Scene] = [
            make_street(rng, moving, pace, queues)
            if variety == "driving"
            else make_hall(rng, pace)
            if variety == "hall"
            else make_room(rng, moving, pace)
            for rng in draws
        ]

    def videos(self) -> list[Video]:
        return [Video(f"{self.kind} {number}", self.count) for number in range(len(self.scenes))]

    def files(self) -> list[Path]:
        return []

    def name(self, video: int, index: int) -> str:
        return f"{self.kind} {video}, frame {index}"

    def read(self, video: int, index: int) -> Frame:
        scene = self.scenes[video]
        pose, shapes = scene.pose(index), shapes_at(scene, index)
        height, width = self.size
        depth = seen_in(scene, index, self.size).depth
        fine = (height * SUPERSAMPLING, width * SUPERSAMPLING)
        colour = scene.light.shade(cast(shapes, pose, intrinsics_of(fine), fine), shapes)
        blocks = colour.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3).mean(axis=(1, 3))
        image = np.rint(255 * np.clip(blocks, 0, 1)).astype(np.uint8)
        return Frame(self.name(video, index), image, depth.astype(np.float32), intrinsics_of(self.size), pose)

    def flow(self, video: int, index: int, offset: int) -> NDArray[np.float32]:
        """As source.Motion: the flow of the surface point at each pixel's centre, also if the point is occluded in the
        other frame or leaves the image. The sky is infinitely far: only the camera's rotation moves it. NaN where the
        point is behind the other camera."""
        scene = self.scenes[video]
        seen = seen_in(scene, index, self.size)
        pose, points = scene.pose(index + offset), seen.points
        ends = scene.moving(index, index + offset)
        for number, (start, end) in enumerate(
            zip(scene.moving(index, index), ends, strict=True), len(scene.standing(index))
        ):
            mine = seen.shape == number
            points[mine] = carried(points[mine], start, end)
        vectors = np.where(seen.hit[:, None], points - pose[:3, 3], seen.directions)
        flow = project(vectors, pose, intrinsics_of(self.size)) - pixels_of(self.size)
        return flow.reshape(*self.size, 2).astype(np.float32)

    def moving(self, video: int, index: int) -> NDArray[np.bool_]:
        """As source.Moving."""
        scene = self.scenes[video]
        first = len(scene.standing(index))
        return (seen_in(scene, index, self.size).shape >= first).reshape(self.size)


@dataclass(frozen=True, eq=False)
class Room:
    """A room or a hall with moving objects. things: the moving objects. sway: oscillation of the camera's x, y, z
    (metres), yaw and pitch (radians). pace: factor on the camera's speed."""

    shapes: tuple[Shape, ...]
    things: tuple[Orbit, ...]
    light: Light
    sway: Sway
    pace: float

    def pose(self, index: int) -> Array:
        """The camera's pose: a smooth path about the room's centre, with a slow rotation."""
        x, y, z, yaw, pitch = self.sway(self.pace * index)
        return pose_of((x, y, z), float(yaw + self._start + TURNING * (self.pace * index)), float(pitch - 0.15))

    def standing(self, index: int) -> tuple[Shape, ...]:  # noqa: ARG002
        """The static shapes of a frame."""
        return self.shapes

    def moving(self, index: int, when: int) -> tuple[Shape, ...]:  # noqa: ARG002
        """The moving shapes of frame `index`, at their positions in frame `when`."""
        return tuple(thing.at(when, self._start + TURNING * self.pace * when) for thing in self.things)

    @property
    def _start(self) -> float:
        return float(4 * self.sway.waves[3, 2])


@dataclass(frozen=True)
class Car:
    """A moving car. parts: body and cabin at their positions in frame 0. speed: metres per frame, along the street."""

    parts: tuple[Box, Box]
    speed: float


@dataclass(frozen=True, eq=False)
class Street:
    """A street that repeats after PERIOD metres. ground: shapes along the whole street. shapes: other static shapes.
    sway, pace: as in Room. speed: of the camera, metres per frame at a pace of 1."""

    ground: tuple[Shape, ...]
    shapes: tuple[Shape, ...]
    cars: tuple[Car, ...]
    light: Light
    sway: Sway
    speed: float
    pace: float

    def pose(self, index: int) -> Array:
        """The camera's pose: down the street, with a little sway."""
        x, y, z, yaw, pitch = self.sway(self.pace * index)
        return pose_of((x, y, z + self.speed * (self.pace * index)), float(yaw), float(pitch))

    def standing(self, index: int) -> tuple[Shape, ...]:
        """As in Room."""
        here = self.pose(index)[2, 3]
        near: list[Shape] = list(self.ground)
        for turn in range(int((here - BEHIND) // PERIOD), int((here + AHEAD) // PERIOD) + 1):
            for shape in self.shapes:
                there = shifted(shape, turn * PERIOD)
                if here - BEHIND < there.centre[2] < here + AHEAD:
                    near.append(there)
        return tuple(near)

    def moving(self, index: int, when: int) -> tuple[Shape, ...]:
        """As in Room."""
        back = self.pose(index)[2, 3] - BEHIND
        near: list[Shape] = []
        for car in self.cars:
            start = car.parts[0].centre[2]
            past = (start + car.speed * index - back) % PERIOD
            if past < BEHIND + AHEAD:
                shift = back + past - start + car.speed * (when - index)
                near.extend(shifted(part, shift) for part in car.parts)
        return tuple(near)


# A static environment with moving objects and a camera path.
Scene = Room | Street


def shapes_at(scene: Scene, index: int) -> tuple[Shape, ...]:
    """The shapes of a frame: the static ones, then the moving ones."""
    return (*scene.standing(index), *scene.moving(index, index))


@lru_cache(maxsize=CACHED)
def seen_in(scene: Scene, index: int, size: tuple[int, int]) -> Seen:
    """The points that the rays through a frame's pixels hit."""
    return cast(shapes_at(scene, index), scene.pose(index), intrinsics_of(size), size)


def make_room(rng: np.random.Generator, moving: int, pace: float) -> Room:
    """A room of 4-6.4 by 4-6.4 by 2.4-3 m, furnished along its walls, with the origin at its centre; 2 m wider and
    longer with moving objects, to leave a ring between the camera and the furniture."""
    half = np.array([rng.uniform(2.0, 3.2), rng.uniform(1.2, 1.5), rng.uniform(2.0, 3.2)])
    half += [1.0, 0, 1.0] if moving else 0
    shapes: list[Shape] = [Box(np.zeros(3), half, 0.0, tuple(make_texture(rng, 0.5) for _ in range(6)), True)]
    for _ in range(int(rng.integers(5, 10))):
        angle, size = rng.uniform(0, 2 * np.pi), rng.uniform([0.15, 0.15, 0.15], [0.4, 0.7, 0.4])
        outwards = rng.uniform(0.75, 1)
        reach = (half[[0, 2]] - 0.4) * (0.6 + 0.4 * outwards if moving else outwards)
        x, z = reach * np.array([np.cos(angle), np.sin(angle)])
        centre = np.array([x, half[1] - size[1], z])
        shapes.append(Box(centre, size, rng.uniform(0, np.pi), (make_texture(rng, 0.2),)))
        if rng.uniform() < 0.5:
            radius = rng.uniform(0.1, 0.3)
            shapes.append(Sphere(centre - [0, size[1] + radius, 0], radius, make_texture(rng, 0.15)))
    lamp = _lamp(rng, half)
    sway = _sway(rng)
    amplitudes = sway.waves[:, 0]
    free = min(half[0], half[2], *(float(np.hypot(*shape.centre[[0, 2]])) - shape.girth for shape in shapes[1:]))
    things = _orbits(rng, moving, float(np.hypot(amplitudes[0], amplitudes[2])) + CLEARANCE, free)
    return Room(tuple(shapes), things, Light(lamp, 0.12, np.ones(3)), sway, pace)


def make_hall(rng: np.random.Generator, pace: float) -> Room:
    """A hall of 16-28 by 16-28 by 3.6-4.8 m, with the origin at its centre. A few shelves and pillars are just outside
    the camera's path, the others anywhere beyond, so that all depths from half a metre to the far wall occur."""
    half = np.array([rng.uniform(8, 14), rng.uniform(1.8, 2.4), rng.uniform(8, 14)])
    shapes: list[Shape] = [Box(np.zeros(3), half, 0.0, tuple(make_texture(rng, 1.0) for _ in range(6)), True)]
    for near in [True] * int(rng.integers(4, 7)) + [False] * int(rng.integers(12, 20)):
        angle, size = rng.uniform(0, 2 * np.pi), rng.uniform([0.1, 0.6, 0.1], [0.5, half[1], 0.5])
        girth = float(np.hypot(size[0], size[2]))
        away = 0.95 + girth + rng.uniform(0, 0.5) if near else rng.uniform(2.5, min(half[0], half[2]) - girth)
        centre = np.array([away * np.sin(angle), half[1] - size[1], away * np.cos(angle)])
        shapes.append(Box(centre, size, rng.uniform(0, np.pi), (make_texture(rng, 0.25),)))
    return Room(tuple(shapes), (), Light(_lamp(rng, half), 0.02, np.ones(3)), _sway(rng), pace)


def _lamp(rng: np.random.Generator, half: Array) -> Array:
    """The position of a lamp below the ceiling of a room. half: half of the room's size."""
    return np.array([rng.uniform(-1, 1), -half[1] + 0.3, rng.uniform(-1, 1)])


def _sway(rng: np.random.Generator) -> Sway:
    """The camera's path in a room: horizontally at most .78 m from the centre."""
    amplitudes = [*rng.uniform(0.3, 0.55, 3) * [1, 0.3, 1], rng.uniform(0.8, 1.6), rng.uniform(0.05, 0.2)]
    speeds = rng.uniform(0.04, 0.12, 5) * rng.choice([-1, 1], 5)
    return Sway(np.column_stack([amplitudes, speeds, rng.uniform(0, 2 * np.pi, 5)]))


def make_street(rng: np.random.Generator, moving: int, pace: float, queues: float) -> Street:
    """A road 8 m wide, with houses, parked cars and trees on both sides; the camera 1.65 m above it, at the origin.
    With moving cars it has one more lane on the right of the camera's lane and two more on the left."""
    right, left = (LANE, 2 * LANE) if moving else (0.0, 0.0)
    pavement = Box(np.array([0, EYE + 0.5, 0]), np.array([300, 0.5, 1e5]), 0.0, (make_texture(rng, 1.0),))
    grey = make_texture(rng, 4.0)
    asphalt = replace(grey, colours=np.array([[0.32], [0.4]]) + 0.1 * (grey.colours - grey.colours.mean()))
    middle, half = (right - left) / 2, 4 + (right + left) / 2
    road = Box(np.array([middle, EYE + 0.48, 0]), np.array([half, 0.5, 1e5]), 0.0, (asphalt,))
    shapes: list[Shape] = []
    for side, wider in ((-1, left), (1, right)):
        along = 0.0
        while along < PERIOD - 6:
            long, deep, high = rng.uniform(4, 9), rng.uniform(3, 6), rng.uniform(2.2, 7)
            centre = [side * (rng.uniform(6.5, 9) + deep + wider), EYE - high, along + long]
            textures = tuple(make_texture(rng, 1.2) for _ in range(2))
            shapes.append(Box(np.array(centre), np.array([deep, high, long]), 0.0, textures))
            along += 2 * long + rng.choice([0.0, rng.uniform(2, 8)])
        for slot in np.arange(3.5, PERIOD, 7.0):
            if rng.uniform() < 0.45:
                kerb, where = side * (rng.uniform(2.9, 3.1) + wider), slot + rng.uniform(-1, 1)
                shapes.extend(_car(kerb, where, 1, make_texture(rng, 3.0)))
            if rng.uniform() < 0.3:
                foot = np.array([side * (rng.uniform(4.6, 5.6) + wider), 0.0, slot + 3.5])
                crown = rng.uniform(0.9, 1.7)
                shapes.append(Box(foot, np.array([0.12, EYE, 0.12]), 0.0, (make_texture(rng, 0.5),)))
                shapes.append(Sphere(foot - [0, EYE + 0.6 * crown, 0], crown, make_texture(rng, 0.4)))
    sun = 1e4 * np.array([rng.uniform(-1, 1), -rng.uniform(0.5, 1.2), rng.uniform(-1, 0.5)])
    amplitudes = [rng.uniform(0.2, 0.6), 0.03, 0.0, rng.uniform(0.01, 0.05), rng.uniform(0.005, 0.02)]
    waves = np.column_stack([amplitudes, rng.uniform(0.03, 0.15, 5), rng.uniform(0, 2 * np.pi, 5)])
    sky = np.array([0.45, 0.65, 0.95]) * rng.uniform(0.7, 1.0)
    speed = rng.uniform(0.5, 1.1)
    waiting, cars = _traffic(rng, moving, speed * pace, queues)
    return Street((pavement, road), (*shapes, *waiting), cars, Light(sun, 0.0, sky), Sway(waves), speed, pace)


def _orbits(rng: np.random.Generator, count: int, inner: float, outer: float) -> tuple[Orbit, ...]:
    """Boxes and spheres in the ring between two radii, in layers one above the other. The objects of a layer swing
    together, each in its own sector, so that they do not collide."""
    things: list[Orbit] = []
    for layer, height in enumerate(HEIGHTS):
        number = len(range(layer, count, len(HEIGHTS)))
        sector = ARC / max(number, 1)
        swing = [rng.uniform(0.4, 0.9) / outer, *_cycle(rng)]
        for position in range(number):
            girth = min(rng.uniform(0.1, 0.2), 0.95 * inner * np.sin(sector / 2))
            corner, texture = rng.uniform(0.6, 0.97), make_texture(rng, 0.15)
            box = np.array([girth * np.cos(corner), rng.uniform(0.1, 0.2), girth * np.sin(corner)])
            shape: Shape = Box(np.zeros(3), box, 0.0, (texture,))
            if rng.uniform() < 0.4:
                shape = Sphere(np.zeros(3), girth, texture)
            spare, room = sector / 2 - np.arcsin(girth / inner), (outer - inner) / 2 - girth
            angle = (position + 0.5) * sector - ARC / 2 + rng.uniform(-spare, spare)
            to_and_fro = [rng.uniform(0.3, 1) * room, *_cycle(rng)], [rng.uniform(0.02, 0.05), *_cycle(rng)]
            spin = TURNING * rng.choice([-2, -1, 1, 2])
            sway = Sway(np.array([swing, *to_and_fro]))
            things.append(Orbit(shape, angle, (inner + outer) / 2, height, sway, spin))
    return tuple(things)


def _cycle(rng: np.random.Generator) -> tuple[float, float]:
    """Speed and phase of a wave with an integer number of periods in 2 pi / TURNING frames."""
    return TURNING * float(rng.integers(2, 5)), rng.uniform(0, 2 * np.pi)


def _traffic(
    rng: np.random.Generator, count: int, speed: float, queues: float
) -> tuple[tuple[Shape, ...], tuple[Car, ...]]:
    """Cars beside the camera: slower ones in the lane to its right, faster ones to its left, oncoming ones one lane
    further left. The cars of a lane have one speed, so that they do not collide, or all stand still (with probability
    `queues`). speed: of the camera. Returns the shapes of the standing cars, and the driving cars."""
    lanes = ((LANE, rng.uniform(0.3, 0.8)), (-LANE, rng.uniform(1.2, 1.7)), (-2 * LANE, -rng.uniform(0.8, 1.3)))
    waiting: list[Shape] = []
    cars: list[Car] = []
    for lane, (across, factor) in enumerate(lanes):
        number = len(range(lane, count, len(lanes)))
        gap = PERIOD / max(number, 1)
        stands = queues > 0 and rng.uniform() < queues
        for position in range(number):
            where = gap * position + rng.uniform(0, gap - 6)
            parts = _car(across + rng.uniform(-0.1, 0.1), where, np.sign(factor), make_texture(rng, 1.0))
            if stands:
                waiting.extend(parts)
            else:
                cars.append(Car(parts, factor * speed))
    return tuple(waiting), tuple(cars)


def _car(across: float, along: float, heading: float, paint: Texture) -> tuple[Box, Box]:
    """The body and cabin of a car. heading: 1 down the street, -1 up."""
    body = np.array([across, EYE - 0.55, along])
    cabin = body - [0, 0.7, 0.2 * heading]
    return (
        Box(body, np.array([0.85, 0.4, 2.1]), 0.0, (paint,)),
        Box(cabin, np.array([0.75, 0.3, 1.1]), 0.0, (paint,)),
    )
