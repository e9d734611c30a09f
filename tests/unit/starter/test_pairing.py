from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weightsearch.errors import DataError
from weightsearch.starter.pairing import pair, pair_folders

WAYS = {
    "the same names": (["a/1.jpg", "a/2.jpg"], ["a/1.png", "a/2.png"]),
    "NYU's": (["rgb_00000.jpg", "rgb_00045.jpg"], ["sync_depth_00000.png", "sync_depth_00045.png"]),
    "7-Scenes'": (["frame-000000.color.png", "frame-000001.color.png"], ["frame-000000.depth.png", "frame-000001.depth.png"]),
    "KITTI's": (
        [f"2011_09_26_drive_0002_sync_image_{i:010d}_image_02.png" for i in (5, 8)],
        [f"2011_09_26_drive_0002_sync_groundtruth_depth_{i:010d}_image_02.png" for i in (5, 8)],
    ),
    "other words, other digits": (["IMG_0001.jpg", "IMG_0010.jpg"], ["d1.npy", "d10.npy"]),
    "folders by kind": (["s1/rgb/0.jpg", "s2/rgb/0.jpg"], ["s1/depth/0.png", "s2/depth/0.png"]),
    "times": (
        ["1305031102.175304.png", "1305031102.211214.png"],
        ["1305031102.160407.png", "1305031102.226738.png"],
    ),
    "a suffix": (["room_rgb.png", "hall_rgb.png"], ["room_depth.png", "hall_depth.png"]),
}  # fmt: skip


def paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


@pytest.mark.parametrize("way", WAYS)
def test_files_are_paired_by(way):
    images, depths = (paths(*names) for names in WAYS[way])
    for given in (depths, depths[::-1]):
        found = pair(images, given)
        assert found.pairs == list(zip(images, depths, strict=True))
        assert found.images == found.depths == []


def test_files_without_a_partner_are_told():
    found = pair(paths("1.jpg", "2.jpg", "3.jpg"), paths("2.png", "3.png", "4.png"))
    assert found.pairs == [(Path("2.jpg"), Path("2.png")), (Path("3.jpg"), Path("3.png"))]
    assert (found.images, found.depths) == (paths("1.jpg"), paths("4.png"))


def test_a_name_that_two_files_have_pairs_neither():
    found = pair(paths("rgb_1.jpg", "color_1.jpg", "rgb_2.jpg", "rgb_3.jpg"), paths("d_1.png", "d_2.png", "d_3.png"))
    assert [image for image, _ in found.pairs] == paths("rgb_2.jpg", "rgb_3.jpg")


def test_names_that_do_not_go_together_are_refused():
    with pytest.raises(DataError, match=r"cannot be paired by their names, such as anna\.jpg and x\.png.*--list FILE"):
        pair(paths("anna.jpg", "ben.jpg"), paths("x.png", "y.png"))


def test_times_that_are_too_far_apart_do_not_pair():
    with pytest.raises(DataError, match="cannot be paired"):
        pair(paths("1305031102.100000.png"), paths("1305031102.200000.png"))


def write(path: Path, deep: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint16) if deep else np.zeros((4, 4, 3), np.uint8)).save(path)


def test_one_folder_may_hold_both(tmp_path):
    for number in range(3):
        write(tmp_path / f"frame-{number}.color.png")
        write(tmp_path / f"frame-{number}.depth.png", deep=True)
    (tmp_path / "._frame-0.color.png").write_text("a companion")
    found = pair_folders(tmp_path, tmp_path)
    assert [(image.name, depth.name) for image, depth in found.pairs] == [
        (f"frame-{number}.color.png", f"frame-{number}.depth.png") for number in range(3)
    ]


def test_the_order_is_that_of_the_numbers(tmp_path):
    for number in (1, 2, 10):
        write(tmp_path / "rgb" / f"{number}.png")
        write(tmp_path / "depth" / f"{number}.png", deep=True)
    found = pair_folders(tmp_path / "rgb", tmp_path / "depth")
    assert [image.stem for image, _ in found.pairs] == ["1", "2", "10"]


def test_a_folder_without_files_says_what_is_expected(tmp_path):
    write(tmp_path / "rgb" / "1.png")
    (tmp_path / "depth").mkdir()
    with pytest.raises(DataError, match=r"depth: no depth map in it; depth maps are 16-bit \.png or \.npy"):
        pair_folders(tmp_path / "rgb", tmp_path / "depth")
    (tmp_path / "depth" / "1.exr").write_bytes(b"")
    with pytest.raises(DataError, match=r"it has \.exr files: convert them"):
        pair_folders(tmp_path / "rgb", tmp_path / "depth")
    with pytest.raises(DataError, match="none: no such folder"):
        pair_folders(tmp_path / "none", tmp_path / "depth")
