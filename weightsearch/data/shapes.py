"""Textured boxes and spheres, their paths in a room, and a camera's view of them: ray casting, light, projection.

Axes as usual in computer vision: x right, y down, z forward; the world's y points down too. Lengths are metres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FAR: Final = np.inf
FIELD_OF_VIEW: Final = np.deg2rad(62)
TURNING: Final = 0.02  # radians per frame, the mean rotation of a room's camera


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
    """A box with a yaw. inside: it is the room itself, seen from inside, with a texture for each wall."""

    centre: Array
    half: Array
    yaw: float
    textures: tuple[Texture, ...]
    inside: bool = False

    @property
    def reach(self) -> float:
        """Radius of the bounding sphere about the centre, metres."""
        return float(np.linalg.norm(self.half))

    @property
    def girth(self) -> float:
        """Radius of the bounding cylinder about the vertical line through the centre, metres."""
        return float(np.hypot(self.half[0], self.half[2]))

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
        points[rows, axis] = 0  # rounding perpendicular to a wall must not change its texture
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
        """Distances at which the rays enter and leave the space between each pair of opposite sides, [N, 3] each."""
        safe = np.where(np.abs(rays) < 1e-12, 1e-12, rays)
        reach = np.sign(safe) * self.half
        return (-reach - start) / safe, (reach - start) / safe


@dataclass(frozen=True)
class Sphere:
    """A sphere. yaw: rotates its texture."""

    centre: Array
    radius: float
    texture: Texture
    yaw: float = 0.0

    @property
    def reach(self) -> float:
        return self.radius

    @property
    def girth(self) -> float:
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
        return normals, self.texture(normals @ rotation_y(self.yaw) * self.radius)


Shape = Box | Sphere


def shifted(shape: Shape, metres: float) -> Shape:
    """The shape moved along z."""
    return replace(shape, centre=shape.centre + np.array([0, 0, metres]))


@dataclass(frozen=True)
class Sway:
    """A sinusoidal oscillation of K quantities. waves: amplitude, speed (radians a frame) and phase of each, [K, 3]."""

    waves: Array

    def __call__(self, index: float) -> Array:
        amplitude, speed, phase = self.waves.T
        return np.asarray(amplitude * np.sin(speed * index + phase))


@dataclass(frozen=True)
class Orbit:
    """An object that circles a room with the camera's rotation and oscillates on its path. If the camera's pace (option
    `pace` of the data set) is an integer, the path closes after 2 pi / TURNING frames. angle, radius, height: its mean
    position, radians from the camera's mean direction, and metres. sway: oscillation of these three. spin: radians per
    frame."""

    shape: Shape
    angle: float
    radius: float
    height: float
    sway: Sway
    spin: float

    def at(self, index: int, turned: float) -> Shape:
        """The shape at a frame. turned: the camera's mean direction, radians, without its sway."""
        angle, radius, height = np.array([self.angle + turned, self.radius, self.height]) + self.sway(index)
        centre = np.array([radius * np.sin(angle), height, radius * np.cos(angle)])
        return replace(self.shape, centre=centre, yaw=self.shape.yaw + self.spin * index)


def carried(points: Array, start: Shape, end: Shape) -> Array:
    """Points that are fixed to a shape, [N, 3], after it has moved from `start` to `end`."""
    return np.asarray((points - start.centre) @ rotation_y(end.yaw - start.yaw).T + end.centre)


@dataclass(frozen=True)
class Seen:
    """The points that an image's rays hit. depth: along the camera's axis, metres, [H, W], 0 for the sky. shape: index
    of the shape, [N], -1 for the sky. origin: of the rays, [3]. directions: of the rays, with length 1, [N, 3].
    distance: along the rays, [N], 0 for the sky."""

    depth: Array
    shape: NDArray[np.intp]
    origin: Array
    directions: Array
    distance: Array

    @property
    def hit(self) -> NDArray[np.bool_]:
        """The mask of the rays that hit a shape, [N]."""
        return self.shape >= 0

    @property
    def points(self) -> Array:
        """The end points of the rays, [N, 3]."""
        return np.asarray(self.origin + self.distance[:, None] * self.directions)


@dataclass(frozen=True)
class Light:
    """A lamp whose light fades with the square of the distance times `fading`, and ambient light. sky: the colour of
    rays without a hit, paler towards the horizon."""

    position: Array
    fading: float
    sky: Array

    def shade(self, seen: Seen, shapes: tuple[Shape, ...]) -> Array:
        """Colours in [0, 1], [N, 3], by Lambert's law."""
        normals, colours = np.zeros_like(seen.directions), np.zeros_like(seen.directions)
        for number, shape in enumerate(shapes):
            mine = np.flatnonzero(seen.shape == number)
            if len(mine):
                normals[mine], colours[mine] = shape.surface(seen.origin, seen.directions[mine], seen.distance[mine])
        towards = self.position - seen.points
        distance = np.linalg.norm(towards, axis=1)
        facing = np.maximum((normals * towards).sum(axis=1) / distance, 0)
        lit = colours * (0.35 + 0.9 * facing / (1 + self.fading * distance**2))[:, None]
        height = np.clip(-seen.directions[:, 1:2] * 3, 0, 1)
        return np.where(seen.hit[:, None], lit, 0.95 * (1 - height) + self.sky * height)


def cast(shapes: tuple[Shape, ...], pose: Array, intrinsics: Array, size: tuple[int, int]) -> Seen:
    """The view of the shapes from a camera, by ray casting. pose: camera to world, [4, 4]."""
    rays = np.column_stack([pixels_of(size), np.ones(size[0] * size[1])]) @ np.linalg.inv(intrinsics).T
    lengths = np.linalg.norm(rays, axis=1)
    directions = (rays / lengths[:, None]) @ pose[:3, :3].T
    origin = pose[:3, 3]
    nearest, seen = np.full(len(rays), FAR), np.full(len(rays), -1, dtype=np.intp)
    for number, shape in enumerate(shapes):
        offset = shape.centre - origin
        outside = offset @ offset - shape.reach**2
        may = np.flatnonzero(directions @ offset >= np.sqrt(outside)) if outside > 0 else np.arange(len(rays))
        distance = shape.hit(origin, directions[may])
        closer = distance < nearest[may]
        nearest[may[closer]], seen[may[closer]] = distance[closer], number
    distance = np.where(seen >= 0, nearest, 0)
    return Seen((distance / lengths).reshape(size), seen, origin, directions, distance)


def project(vectors: Array, pose: Array, intrinsics: Array) -> Array:
    """Pixels [N, 2] of directions from the camera; NaN behind it. vectors: directions of any length, in the world's
    axes, [N, 3]."""
    image = vectors @ pose[:3, :3] @ intrinsics.T
    ahead = np.where(image[:, 2:] > 1e-9, image[:, 2:], np.nan)
    return np.asarray(image[:, :2] / ahead)


def pixels_of(size: tuple[int, int]) -> Array:
    """The pixels' centres, row by row, [N, 2]: x, y."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    return np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float64)


def intrinsics_of(size: tuple[int, int]) -> Array:
    """Intrinsics of the camera, pixels, [3, 3], with pixel centres at integers."""
    height, width = size
    focal = width / 2 / np.tan(FIELD_OF_VIEW / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def pose_of(position: tuple[float, float, float], yaw: float, pitch: float) -> Array:
    """Pose from camera to world, [4, 4]. position: metres. yaw, pitch: radians."""
    pose = np.eye(4)
    pose[:3, :3] = rotation_y(yaw) @ rotation_x(pitch)
    pose[:3, 3] = position
    return pose


def rotation_y(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rotation_x(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def make_texture(rng: np.random.Generator, tile: float) -> Texture:
    """A texture of two similar colours with tiles about `tile` metres wide."""
    base = rng.uniform(0.25, 0.95, 3)
    other = np.clip(base + rng.uniform(-0.35, 0.35, 3), 0.05, 1)
    return Texture(
        np.stack([base, other]), tile * rng.uniform(0.7, 1.4), rng.normal(0, 6, (3, 3)), rng.uniform(0, 6.28, 3)
    )
