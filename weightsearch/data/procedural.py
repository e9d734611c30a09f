"""Rooms and streets that are computed: ray-cast boxes and spheres with exact depth, intrinsics and camera poses.

Axes as usual in computer vision: x right, y down, z forward; the world's y points down too. Nothing is downloaded, and
the same options give the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from weightsearch.data.source import Frame, Video

Array = NDArray[np.float64]

FAR: Final = np.inf
SUPERSAMPLING: Final = 2
FIELD_OF_VIEW: Final = np.deg2rad(62)
EYE: Final = 1.65  # metres of a driving camera above the road
PERIOD: Final = 140.0  # metres of street until it repeats
BEHIND: Final = 15.0
AHEAD: Final = 110.0


class Procedural:
    """variety: `indoor`, a camera that turns in a furnished room (0.3-6 m), or `driving`, one that drives down a street
    between houses, parked cars and trees (from 2 m to the horizon, the sky without depth). scenes: how many, each a
    video of `frames` frames. seed: of what stands where and of the camera's path."""

    def __init__(
        self,
        *,
        size: tuple[int, int],
        variety: Literal["indoor", "driving"] = "indoor",
        scenes: Annotated[int, Field(ge=1, le=1000)] = 6,
        frames: Annotated[int, Field(ge=1, le=10000)] = 40,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.size = size
        self.count = frames
        self.kind, make = ("room", make_room) if variety == "indoor" else ("street", make_street)
        self.scenes: list[Scene] = [make(np.random.default_rng([seed, number])) for number in range(scenes)]

    def videos(self) -> list[Video]:
        return [Video(f"{self.kind} {number}", self.count) for number in range(len(self.scenes))]

    def files(self) -> list[Path]:
        return []

    def name(self, video: int, index: int) -> str:
        return f"{self.kind} {video}, frame {index}"

    def read(self, video: int, index: int) -> Frame:
        scene = self.scenes[video]
        pose, shapes = scene.pose(index), scene.shapes_at(index)
        height, width = self.size
        depth = cast(shapes, pose, intrinsics_of(self.size), self.size).depth
        fine = (height * SUPERSAMPLING, width * SUPERSAMPLING)
        colour = scene.light.shade(cast(shapes, pose, intrinsics_of(fine), fine))
        blocks = colour.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3).mean(axis=(1, 3))
        image = np.rint(255 * np.clip(blocks, 0, 1)).astype(np.uint8)
        return Frame(self.name(video, index), image, depth.astype(np.float32), intrinsics_of(self.size), pose)


@dataclass(frozen=True)
class Texture:
    """A surface's colour: two colours mixed by tiles and waves of its own coordinates (metres)."""

    colours: Array  # [2, 3]
    tile: float
    wave: Array  # [3, 3] radians per metre
    phase: Array  # [3]

    def __call__(self, points: Array) -> Array:
        """points: metres, [N, 3] -> colour, [N, 3]."""
        tiles = np.floor(points / self.tile + 1e-6).sum(axis=1) % 2
        waves = 0.5 + np.sin(points @ self.wave + self.phase).mean(axis=1) / 2
        mix = (0.65 * tiles + 0.35 * waves)[:, None]
        return np.asarray((1 - mix) * self.colours[0] + mix * self.colours[1])


@dataclass(frozen=True)
class Box:
    """A box with a yaw. inside: it is the room itself, seen from within, with one texture a wall."""

    centre: Array
    half: Array
    yaw: float
    textures: tuple[Texture, ...]
    inside: bool = False

    @property
    def reach(self) -> float:
        """Metres from the centre within which all of it lies."""
        return float(np.linalg.norm(self.half))

    def hit(self, origin: Array, directions: Array) -> Array:
        """Distances along the rays, [N]; FAR for a miss."""
        start, rays = self._local(origin, directions)
        near, far = self._slabs(start, rays)
        enter, leave = near.max(axis=1), far.min(axis=1)
        if self.inside:
            return np.asarray(leave)
        return np.where((enter < leave) & (enter > 1e-6), enter, FAR)

    def surface(self, origin: Array, directions: Array, distance: Array) -> tuple[Array, Array]:
        """Outward normals and colours, [N, 3], where the rays hit."""
        start, rays = self._local(origin, directions)
        near, far = self._slabs(start, rays)
        axis = far.argmin(axis=1) if self.inside else near.argmax(axis=1)
        rows = np.arange(len(rays))
        side = np.sign(rays[rows, axis])
        normals = np.zeros_like(rays)
        normals[rows, axis] = -side
        points = start + distance[:, None] * rays
        points[rows, axis] = 0  # a wall's texture does not depend on rounding across it
        wall = (2 * axis + (side > 0)) % len(self.textures)
        colours = np.zeros_like(rays)
        for number, texture in enumerate(self.textures):
            chosen = wall == number
            colours[chosen] = texture(points[chosen])
        return normals @ rotation_y(self.yaw).T, colours

    def _local(self, origin: Array, directions: Array) -> tuple[Array, Array]:
        turn = rotation_y(self.yaw)
        return (origin - self.centre) @ turn, directions @ turn

    def _slabs(self, start: Array, rays: Array) -> tuple[Array, Array]:
        """Where the rays enter and leave the space between each pair of opposite sides, [N, 3] each."""
        safe = np.where(np.abs(rays) < 1e-12, 1e-12, rays)
        reach = np.sign(safe) * self.half
        return (-reach - start) / safe, (reach - start) / safe


@dataclass(frozen=True)
class Sphere:
    centre: Array
    radius: float
    texture: Texture

    @property
    def reach(self) -> float:
        return self.radius

    def hit(self, origin: Array, directions: Array) -> Array:
        """As Box.hit; `directions` have length 1."""
        offset = origin - self.centre
        along = directions @ offset
        root = along**2 - offset @ offset + self.radius**2
        distance = np.where(root > 0, -along - np.sqrt(np.maximum(root, 0)), FAR)
        return np.where(distance > 1e-6, distance, FAR)

    def surface(self, origin: Array, directions: Array, distance: Array) -> tuple[Array, Array]:
        normals = (origin - self.centre + distance[:, None] * directions) / self.radius
        return normals, self.texture(normals * self.radius)


Shape = Box | Sphere


@dataclass(frozen=True)
class Seen:
    """What the rays of a picture hit. depth: along the camera's axis, metres, [H, W], 0 for the sky. hit: whether there
    is anything, [N]. directions: of the rays, length 1; points: metres; normals; colours: each [N, 3]."""

    depth: Array
    hit: NDArray[np.bool_]
    directions: Array
    points: Array
    normals: Array
    colours: Array


@dataclass(frozen=True)
class Light:
    """A lamp whose light fades with the square of the distance times `fading`; ambient light beside it. sky: the colour
    where nothing is, paler towards the horizon."""

    position: Array
    fading: float
    sky: Array

    def shade(self, seen: Seen) -> Array:
        """Colours in [0, 1], [N, 3], by Lambert's law."""
        towards = self.position - seen.points
        distance = np.linalg.norm(towards, axis=1)
        facing = np.maximum((seen.normals * towards).sum(axis=1) / distance, 0)
        lit = seen.colours * (0.35 + 0.9 * facing / (1 + self.fading * distance**2))[:, None]
        height = np.clip(-seen.directions[:, 1:2] * 3, 0, 1)
        return np.where(seen.hit[:, None], lit, 0.95 * (1 - height) + self.sky * height)


class Scene(Protocol):
    """A place and a camera's way through it."""

    @property
    def light(self) -> Light: ...

    def pose(self, index: int) -> Array:
        """Camera to world, metres, [4, 4], of a frame."""
        ...

    def shapes_at(self, index: int) -> tuple[Shape, ...]:
        """What may be seen in a frame."""
        ...


@dataclass(frozen=True)
class Sway:
    """A smooth motion to and fro: amplitude, speed (radians a frame) and phase of x, y, z (metres), yaw and pitch
    (radians), [5, 3]."""

    waves: Array

    def __call__(self, index: int) -> Array:
        amplitude, speed, phase = self.waves.T
        return np.asarray(amplitude * np.sin(speed * index + phase))


@dataclass(frozen=True)
class Room:
    shapes: tuple[Shape, ...]
    light: Light
    sway: Sway

    def pose(self, index: int) -> Array:
        """Smoothly about the room's centre, turning slowly."""
        x, y, z, yaw, pitch = self.sway(index)
        start = 4 * self.sway.waves[3, 2]
        return pose_of((x, y, z), float(yaw + start + 0.02 * index), float(pitch - 0.15))

    def shapes_at(self, index: int) -> tuple[Shape, ...]:  # noqa: ARG002
        return self.shapes


@dataclass(frozen=True)
class Street:
    """What stands on PERIOD metres of it is repeated for ever. ground: reaches along all of it. speed: metres a
    frame."""

    ground: tuple[Shape, ...]
    shapes: tuple[Shape, ...]
    light: Light
    sway: Sway
    speed: float

    def pose(self, index: int) -> Array:
        """Down the street, with a little sway."""
        x, y, z, yaw, pitch = self.sway(index)
        return pose_of((x, y, z + self.speed * index), float(yaw), float(pitch))

    def shapes_at(self, index: int) -> tuple[Shape, ...]:
        here = self.pose(index)[2, 3]
        near: list[Shape] = list(self.ground)
        for turn in range(int((here - BEHIND) // PERIOD), int((here + AHEAD) // PERIOD) + 1):
            for shape in self.shapes:
                moved = replace(shape, centre=shape.centre + np.array([0, 0, turn * PERIOD]))
                if here - BEHIND < moved.centre[2] < here + AHEAD:
                    near.append(moved)
        return tuple(near)


def make_room(rng: np.random.Generator) -> Room:
    """A room of 4-6.4 by 4-6.4 by 2.4-3 m, furnished along its walls, with the origin at its centre."""
    half = np.array([rng.uniform(2.0, 3.2), rng.uniform(1.2, 1.5), rng.uniform(2.0, 3.2)])
    shapes: list[Shape] = [Box(np.zeros(3), half, 0.0, tuple(_texture(rng, 0.5) for _ in range(6)), True)]
    for _ in range(int(rng.integers(5, 10))):
        angle, size = rng.uniform(0, 2 * np.pi), rng.uniform([0.15, 0.15, 0.15], [0.4, 0.7, 0.4])
        reach = (half[[0, 2]] - 0.4) * rng.uniform(0.75, 1)
        x, z = reach * np.array([np.cos(angle), np.sin(angle)])
        centre = np.array([x, half[1] - size[1], z])
        shapes.append(Box(centre, size, rng.uniform(0, np.pi), (_texture(rng, 0.2),)))
        if rng.uniform() < 0.5:
            radius = rng.uniform(0.1, 0.3)
            shapes.append(Sphere(centre - [0, size[1] + radius, 0], radius, _texture(rng, 0.15)))
    lamp = np.array([rng.uniform(-1, 1), -half[1] + 0.3, rng.uniform(-1, 1)])
    amplitudes = [*rng.uniform(0.3, 0.55, 3) * [1, 0.3, 1], rng.uniform(0.8, 1.6), rng.uniform(0.05, 0.2)]
    speeds = rng.uniform(0.04, 0.12, 5) * rng.choice([-1, 1], 5)
    sway = Sway(np.column_stack([amplitudes, speeds, rng.uniform(0, 2 * np.pi, 5)]))
    return Room(tuple(shapes), Light(lamp, 0.12, np.ones(3)), sway)


def make_street(rng: np.random.Generator) -> Street:
    """A road 8 m wide, with houses, parked cars and trees on both sides; the camera 1.65 m above it, at the origin."""
    pavement = Box(np.array([0, EYE + 0.5, 0]), np.array([300, 0.5, 1e5]), 0.0, (_texture(rng, 1.0),))
    grey = _texture(rng, 4.0)
    asphalt = replace(grey, colours=np.array([[0.32], [0.4]]) + 0.1 * (grey.colours - grey.colours.mean()))
    road = Box(np.array([0, EYE + 0.48, 0]), np.array([4, 0.5, 1e5]), 0.0, (asphalt,))
    shapes: list[Shape] = []
    for side in (-1, 1):
        along = 0.0
        while along < PERIOD - 6:
            long, deep, high = rng.uniform(4, 9), rng.uniform(3, 6), rng.uniform(2.2, 7)
            centre = [side * (rng.uniform(6.5, 9) + deep), EYE - high, along + long]
            textures = tuple(_texture(rng, 1.2) for _ in range(2))
            shapes.append(Box(np.array(centre), np.array([deep, high, long]), 0.0, textures))
            along += 2 * long + rng.choice([0.0, rng.uniform(2, 8)])
        for place in np.arange(3.5, PERIOD, 7.0):
            if rng.uniform() < 0.45:
                low = [side * rng.uniform(2.9, 3.1), EYE - 0.55, place + rng.uniform(-1, 1)]
                paint = (_texture(rng, 3.0),)
                shapes.append(Box(np.array(low), np.array([0.85, 0.4, 2.1]), 0.0, paint))
                shapes.append(Box(np.array(low) - [0, 0.7, 0.2], np.array([0.75, 0.3, 1.1]), 0.0, paint))
            if rng.uniform() < 0.3:
                foot = np.array([side * rng.uniform(4.6, 5.6), 0.0, place + 3.5])
                crown = rng.uniform(0.9, 1.7)
                shapes.append(Box(foot, np.array([0.12, EYE, 0.12]), 0.0, (_texture(rng, 0.5),)))
                shapes.append(Sphere(foot - [0, EYE + 0.6 * crown, 0], crown, _texture(rng, 0.4)))
    sun = 1e4 * np.array([rng.uniform(-1, 1), -rng.uniform(0.5, 1.2), rng.uniform(-1, 0.5)])
    amplitudes = [rng.uniform(0.2, 0.6), 0.03, 0.0, rng.uniform(0.01, 0.05), rng.uniform(0.005, 0.02)]
    waves = np.column_stack([amplitudes, rng.uniform(0.03, 0.15, 5), rng.uniform(0, 2 * np.pi, 5)])
    sky = np.array([0.45, 0.65, 0.95]) * rng.uniform(0.7, 1.0)
    return Street((pavement, road), tuple(shapes), Light(sun, 0.0, sky), Sway(waves), rng.uniform(0.5, 1.1))


def pose_of(place: tuple[float, float, float], yaw: float, pitch: float) -> Array:
    """Camera to world, [4, 4]. place: metres; yaw, pitch: radians."""
    pose = np.eye(4)
    pose[:3, :3] = rotation_y(yaw) @ rotation_x(pitch)
    pose[:3, 3] = place
    return pose


def intrinsics_of(size: tuple[int, int]) -> Array:
    """Pixels, [3, 3], with pixel centres at whole numbers."""
    height, width = size
    focal = width / 2 / np.tan(FIELD_OF_VIEW / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def cast(shapes: tuple[Shape, ...], pose: Array, intrinsics: Array, size: tuple[int, int]) -> Seen:
    """What a camera sees of the shapes."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3) @ np.linalg.inv(intrinsics).T
    lengths = np.linalg.norm(rays, axis=1)
    directions = (rays / lengths[:, None]) @ pose[:3, :3].T
    origin = pose[:3, 3]
    nearest, seen = np.full(len(rays), FAR), np.zeros(len(rays), dtype=np.intp)
    for number, shape in enumerate(shapes):
        offset = shape.centre - origin
        outside = offset @ offset - shape.reach**2
        may = np.flatnonzero(directions @ offset >= np.sqrt(outside)) if outside > 0 else np.arange(len(rays))
        distance = shape.hit(origin, directions[may])
        closer = distance < nearest[may]
        nearest[may[closer]], seen[may[closer]] = distance[closer], number
    hit = np.isfinite(nearest)
    distance = np.where(hit, nearest, 0)
    normals, colours = np.zeros_like(rays), np.zeros_like(rays)
    for number, shape in enumerate(shapes):
        mine = np.flatnonzero((seen == number) & hit)
        if len(mine):
            normals[mine], colours[mine] = shape.surface(origin, directions[mine], distance[mine])
    points = origin + distance[:, None] * directions
    return Seen((distance / lengths).reshape(size), hit, directions, points, normals, colours)


def rotation_y(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rotation_x(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _texture(rng: np.random.Generator, tile: float) -> Texture:
    base = rng.uniform(0.25, 0.95, 3)
    other = np.clip(base + rng.uniform(-0.35, 0.35, 3), 0.05, 1)
    return Texture(
        np.stack([base, other]), tile * rng.uniform(0.7, 1.4), rng.normal(0, 6, (3, 3)), rng.uniform(0, 6.28, 3)
    )
