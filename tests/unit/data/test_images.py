from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from weightsearch.data.images import read_colour, read_uint16, resize_colour, resize_depth, resize_intrinsics
from weightsearch.errors import DataError


def test_uint16_is_read_to_the_last_bit(tmp_path):
    values = np.array([[0, 1, 255], [256, 65534, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "d.png")
    assert np.array_equal(read_uint16(tmp_path / "d.png"), values)


def test_eight_bit_depth_is_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "d.png")
    with pytest.raises(DataError, match=r"d.png: expected a 16-bit depth map, found mode L"):
        read_uint16(tmp_path / "d.png")


def test_damaged_files_are_named(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "c.jpg")
    whole = (tmp_path / "c.jpg").read_bytes()
    (tmp_path / "c.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"c.jpg: .*truncated"):
        read_colour(tmp_path / "c.jpg")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text.png: not an image"):
        read_colour(tmp_path / "text.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty.png"):
        read_uint16(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"none.png: no such file"):
        read_colour(tmp_path / "none.png")


def test_colour_shrinks_by_area():
    image = np.zeros((4, 4, 3), np.uint8)
    image[::2, ::2] = 200
    assert np.array_equal(resize_colour(image, (2, 2)), np.full((2, 2, 3), 50, np.uint8))


def test_depth_is_never_mixed_over_an_edge():
    depth = np.where(np.arange(64) < 31, 1.0, 5.0).astype(np.float32)[None].repeat(48, 0)
    depth[10:20, 10:20] = 0
    small = resize_depth(depth, (16, 20))
    assert set(np.unique(small)) == {0.0, 1.0, 5.0}
    assert resize_depth(depth, (48, 64)) is depth


def test_resized_intrinsics_project_to_the_same_place():
    """The corner of the picture, at -1/2, is the corner of the resized picture."""
    old = np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]])
    new = resize_intrinsics(old, (480, 640), (120, 160))
    ray = np.linalg.inv(old) @ [-0.5, -0.5, 1]
    np.testing.assert_allclose(new @ ray, [-0.5, -0.5, 1], atol=1e-9)
    ray = np.linalg.inv(old) @ [639.5, 479.5, 1]
    np.testing.assert_allclose(new @ ray, [159.5, 119.5, 1], atol=1e-9)


def save_turned(path, values, orientation):
    picture = Image.fromarray(values)
    exif = picture.getexif()
    exif[274] = orientation
    picture.save(path, exif=exif)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff", ".webp"])
def test_a_picture_that_asks_to_be_turned_is_refused_with_the_tag_s_name(tmp_path, suffix, orientation):
    path = tmp_path / f"c{suffix}"
    save_turned(path, np.zeros((6, 8, 3), np.uint8), orientation)
    with pytest.raises(DataError, match=rf"c\{suffix}: its EXIF tag Orientation is {orientation}: shown (turned|mirr)"):
        read_colour(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff", ".webp"])
@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_a_tag_that_turns_nothing_is_no_fault(tmp_path, suffix, orientation):
    save_turned(tmp_path / f"c{suffix}", np.zeros((6, 8, 3), np.uint8), orientation)
    assert read_colour(tmp_path / f"c{suffix}").shape == (6, 8, 3)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_depth_that_asks_to_be_turned_is_refused_too(tmp_path, suffix):
    save_turned(tmp_path / f"d{suffix}", np.ones((6, 8), np.uint16), 3)
    with pytest.raises(DataError, match=r"its EXIF tag Orientation is 3: shown turned by 180 degrees"):
        read_uint16(tmp_path / f"d{suffix}")


def test_an_orientation_in_xmp_counts_and_damaged_exif_does_not(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    plain = Image.fromarray(np.zeros((6, 8, 3), np.uint8))
    plain.save(tmp_path / "x.jpg", xmp=xmp)
    with pytest.raises(DataError, match=r"x.jpg: its EXIF tag Orientation is 6: shown turned by 90 degrees clockwise"):
        read_colour(tmp_path / "x.jpg")
    plain.save(tmp_path / "d.jpg", exif=b"Exif\0\0no tags at all")
    assert read_colour(tmp_path / "d.jpg").shape == (6, 8, 3)
