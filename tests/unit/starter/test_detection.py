from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from weightsearch.data.units import CONVENTIONS
from weightsearch.errors import DataError
from weightsearch.starter.detection import depth_range, detect, units


def room(seed: int, median: float = 2.2) -> np.ndarray:
    """Depth of a room, metres: the farthest wall is at 2.3 times the median."""
    return median * np.random.default_rng(seed).triangular(0.35, 0.9, 2.3, 4000)


def street(seed: int) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).lognormal(np.log(12), 0.75, 4000), 3, 78)


@pytest.mark.parametrize("scale", [1000.0, 5000.0])
@pytest.mark.parametrize("median", [1.4, 2.2, 2.9])
def test_the_unit_of_a_rooms_integers_is_found(scale, median):
    """5000 at 1.4 m looks like 1000 at 7 m, a hall: then it is among the likely ones."""
    rated = units((room(0, median) * scale).clip(1, 65534), "integers", street=False)
    near = [found for penalty, found, _ in rated if penalty - rated[0][0] < 0.6]
    assert scale in near
    if scale == 1000 or median > 2:
        assert rated[0][1] == scale


def test_centimetres_of_a_room_are_not_taken_for_kitti_s_unit():
    """Read at 256 units per metre the room would have a possible size, too: a median of 0.7 to 1.1 m."""
    for median in (1.8, 2.2, 2.9):
        assert units(room(0, median) * 100, "integers", street=False)[0][1] == 100


def test_the_unit_of_a_streets_integers_is_found():
    assert units(street(1) * 256, "integers", street=True)[0][1] == 256


@pytest.mark.parametrize(("scale", "name"), [(1.0, "metres"), (1000.0, "millimetres"), (100.0, "centimetres")])
@pytest.mark.parametrize("outside", [False, True])
def test_the_unit_of_floats_is_found(scale, name, outside):
    depth = street(2) if outside else room(2)
    assert units(depth * scale, "floats", street=outside)[0][1:] == (scale, name)


def test_every_convention_is_a_candidate():
    assert {scale for _, scale, _ in units(room(3) * 1000, "integers", street=False)} == set(CONVENTIONS)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.4, 3.9, (0.3, 4)), (0.9, 9.7, (0.5, 10)), (3, 78, (2, 80)), (0.02, 0.45, (0.01, 0.5))],
)
def test_the_range_holds_the_depth_in_round_numbers(low, high, expected):
    assert depth_range(np.linspace(low, high, 10_000)) == expected


def test_a_single_far_pixel_does_not_set_the_range():
    depth = np.append(np.linspace(1, 4.5, 10_000), 900)
    assert depth_range(depth)[1] == 5


def pairs(folder, count: int = 3, shape=(48, 64), value: int = 2000, depth_shape=None):
    found = []
    for number in range(count):
        image, depth = folder / f"{number}.jpg", folder / f"{number}.png"
        Image.fromarray(np.full((*shape, 3), 90, np.uint8)).save(image)
        rows = np.random.default_rng(number).integers(value, 2 * value, depth_shape or shape).astype(np.uint16)
        rows[:4] = 65535
        Image.fromarray(rows).save(depth)
        found.append((image, depth))
    return found


def test_unknown_pixels_do_not_count(tmp_path):
    found = detect(pairs(tmp_path))
    assert (found.scale, found.stored, found.sparse, found.size) == (1000, "integers", False, (48, 64))
    assert (found.min_depth, found.max_depth) == (1, 5)
    assert found.median == pytest.approx(3, abs=0.05)


def test_depth_of_another_size_than_its_image_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"0\.png: 32x24 pixels, its image .*0\.jpg has 64x48"):
        detect(pairs(tmp_path, depth_shape=(24, 32)))


def test_an_eight_bit_picture_is_no_depth_map(tmp_path):
    found = pairs(tmp_path)
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(found[0][1])
    with pytest.raises(DataError, match=r"0\.png: expected a 16-bit depth map"):
        detect(found)


def test_depth_without_a_known_pixel_is_refused(tmp_path):
    found = pairs(tmp_path)
    for _, depth in found:
        Image.fromarray(np.zeros((48, 64), np.uint16)).save(depth)
    with pytest.raises(DataError, match="no depth map has a known pixel"):
        detect(found)


def test_real_depth_has_its_published_unit(data_root):
    for name, scale, sparse in (("nyu_demo", 1000, False), ("kitti_demo", 256, True)):
        folder = data_root / "pairs" / name
        images, depths = (sorted((folder / part).iterdir()) for part in ("rgb", "depth"))
        found = detect(list(zip(images, depths, strict=True)))
        assert (found.scale, found.sparse, found.other) == (scale, sparse, None)
    seq = data_root / "7scenes" / "redkitchen" / "seq-01"
    images = sorted(seq.glob("*.color.jpg"))[:40]
    found = detect([(image, image.with_name(image.name.replace("color.jpg", "depth.png"))) for image in images])
    assert (found.scale, found.sparse, found.other) == (1000, False, None)
