"""Rooms that are computed: ray-cast planes, boxes and spheres with exact depth, intrinsics and camera poses.

Axes as usual in computer vision: x right, y down, z forward; the world's y points down too. Nothing is downloaded, and
the same options give the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from weightsearch.data.source import Frame, Video

Array = NDArray[np.float64]

FAR: Final = np.inf
SUPERSAMPLING: Final = 2
FIELD_OF_VIEW: Final = np.deg2rad(62)


class Procedural:
    """rooms: how many, each a video of `frames` frames. seed: of the rooms' layout and of the camera's path."""

    def __init__(
        self,
        *,
        size: tuple[int, int],
        rooms: Annotated[int, Field(ge=1, le=1000)] = 6,
        frames: Annotated[int, Field(ge=1, le=10000)] = 40,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        self.size = size
        self.count = frames
        self.rooms = [make_room(np.random.default_rng([seed, number])) for number in range(rooms)]

    def videos(self) -> list[Video]:
        return [Video(f"room {number}", self.count) for number in range(len(self.rooms))]

    def files(self) -> list[Path]:
        return []

    def read(self, video: int, index: int) -> Frame:
        room = self.rooms[video]
        pose = camera_pose(room, index)
        height, width = self.size
        depth = cast(room, pose, intrinsics_of(self.size), self.size)[0]
        fine = (height * SUPERSAMPLING, width * SUPERSAMPLING)
        colour = shade(room, *cast(room, pose, intrinsics_of(fine), fine)[1:])
        blocks = colour.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3).mean(axis=(1, 3))
        image = np.rint(255 * np.clip(blocks, 0, 1)).astype(np.uint8)
        return Frame(f"room {video}, frame {index}", image, depth.astype(np.float32), intrinsics_of(self.size), pose)


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


@dataclass(frozen=True)
class Room:
    shapes: tuple[Box | Sphere, ...]
    light: Array
    path: Array  # [6, 2]: amplitude and speed of the camera's x, y, z, yaw, pitch, and the phases' seed row


def make_room(rng: np.random.Generator) -> Room:
    """A room of 4-6.4 by 4-6.4 by 2.4-3 m, furnished along its walls, with the origin at its centre."""
    half = np.array([rng.uniform(2.0, 3.2), rng.uniform(1.2, 1.5), rng.uniform(2.0, 3.2)])
    shapes: list[Box | Sphere] = [Box(np.zeros(3), half, 0.0, tuple(_texture(rng, 0.5) for _ in range(6)), True)]
    for _ in range(int(rng.integers(5, 10))):
        angle, size = rng.uniform(0, 2 * np.pi), rng.uniform([0.15, 0.15, 0.15], [0.4, 0.7, 0.4])
        reach = (half[[0, 2]] - 0.4) * rng.uniform(0.75, 1)
        x, z = reach * np.array([np.cos(angle), np.sin(angle)])
        centre = np.array([x, half[1] - size[1], z])
        shapes.append(Box(centre, size, rng.uniform(0, np.pi), (_texture(rng, 0.2),)))
        if rng.uniform() < 0.5:
            radius = rng.uniform(0.1, 0.3)
            shapes.append(Sphere(centre - [0, size[1] + radius, 0], radius, _texture(rng, 0.15)))
    light = np.array([rng.uniform(-1, 1), -half[1] + 0.3, rng.uniform(-1, 1)])
    amplitudes = [*rng.uniform(0.3, 0.55, 3) * [1, 0.3, 1], rng.uniform(0.8, 1.6), rng.uniform(0.05, 0.2)]
    speeds = rng.uniform(0.04, 0.12, 5) * rng.choice([-1, 1], 5)
    return Room(tuple(shapes), light, np.column_stack([amplitudes, speeds, rng.uniform(0, 2 * np.pi, 5)]))


def camera_pose(room: Room, index: int) -> Array:
    """Camera to world, metres, [4, 4], at frame `index` of a smooth path about the room's centre."""
    amplitude, speed, phase = room.path.T
    x, y, z, yaw, pitch = amplitude * np.sin(speed * index + phase)
    turned = rotation_y(float(yaw + 4 * phase[3] + 0.02 * index)) @ rotation_x(float(pitch - 0.15))
    pose = np.eye(4)
    pose[:3, :3] = turned
    pose[:3, 3] = x, y, z
    return pose


def intrinsics_of(size: tuple[int, int]) -> Array:
    """Pixels, [3, 3], with pixel centres at whole numbers."""
    height, width = size
    focal = width / 2 / np.tan(FIELD_OF_VIEW / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def cast(room: Room, pose: Array, intrinsics: Array, size: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """Depth along the camera's axis (metres, [H, W]) and points, normals and colours of what is seen (each [N, 3])."""
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1).reshape(-1, 3) @ np.linalg.inv(intrinsics).T
    lengths = np.linalg.norm(rays, axis=1)
    directions = (rays / lengths[:, None]) @ pose[:3, :3].T
    origin = pose[:3, 3]
    hits = np.stack([shape.hit(origin, directions) for shape in room.shapes])
    seen, distance = hits.argmin(axis=0), hits.min(axis=0)
    normals, colours = np.zeros_like(rays), np.zeros_like(rays)
    for number, shape in enumerate(room.shapes):
        mine = np.flatnonzero(seen == number)
        if len(mine):
            normals[mine], colours[mine] = shape.surface(origin, directions[mine], distance[mine])
    return (distance / lengths).reshape(size), origin + distance[:, None] * directions, normals, colours


def shade(room: Room, points: Array, normals: Array, colours: Array) -> Array:
    """Lambert's law with one lamp that fades with distance, and ambient light; colour in [0, 1], [N, 3]."""
    towards = room.light - points
    distance = np.linalg.norm(towards, axis=1)
    facing = np.maximum((normals * towards).sum(axis=1) / distance, 0)
    return np.asarray(colours * (0.35 + 0.9 * facing / (1 + 0.12 * distance**2))[:, None])


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
