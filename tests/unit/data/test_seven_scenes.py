from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.seven_scenes import make_scene
from weightsearch.data.sources.seven_scenes import SevenScenes
from weightsearch.errors import DataError


@pytest.fixture
def scene(data_root: Path) -> Path:
    return data_root / "7scenes" / "redkitchen"


def test_real_frames_have_the_depth_that_is_known_of_them(scene):
    source = SevenScenes(root=scene, stride=25)
    (video,) = source.videos()
    assert video.name == "seq-01"
    assert video.length == 20
    frames = [source.read(0, index) for index in range(video.length)]
    depth = np.stack([frame.depth for frame in frames])
    known = depth[depth > 0]
    assert np.median(known) == pytest.approx(1.83, abs=0.15)
    assert np.quantile(known, 0.01) == pytest.approx(0.8, abs=0.2)
    assert np.quantile(known, 0.99) == pytest.approx(3.2, abs=0.2)
    assert known.max() < 4.5  # 65535 mm is no depth
    assert (depth == 0).mean() == pytest.approx(0.11, abs=0.05)
    assert frames[0].image.shape == (480, 640, 3)


def test_poses_are_rigid_and_the_intrinsics_those_of_the_depth_camera(scene):
    frame = SevenScenes(root=scene).read(0, 3)
    given = np.loadtxt(scene / "camera-intrinsics.txt")
    np.testing.assert_allclose(frame.intrinsics, given)
    rotation = frame.pose[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)


def test_png_colour_and_a_stride(tmp_path):
    make_scene(tmp_path, 5)
    source = SevenScenes(root=tmp_path, stride=2)
    assert source.videos()[0].length == 3
    assert source.read(0, 2).depth[0, 0] == np.float32(1.004)
    assert len(source.files()) == 9


def test_a_frame_is_one_frame_whatever_pictures_there_are_of_it(tmp_path):
    folder = make_scene(tmp_path)
    Image.fromarray(np.full((48, 64, 3), 200, np.uint8)).save(folder / "frame-000001.color.jpg")
    source = SevenScenes(root=tmp_path)
    assert source.videos()[0].length == 3
    assert source.read(0, 1).image[0, 0, 0] == 1


def test_depth_is_not_taken_for_colour(tmp_path):
    folder = make_scene(tmp_path)
    (folder / "frame-000001.depth.png").replace(folder / "frame-000001.color.png")
    with pytest.raises(DataError, match=r"frame-000001.color.png: a grey image of 16 bits, expected colour"):
        SevenScenes(root=tmp_path).read(0, 1)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"has no folder seq-\*"):
        SevenScenes(root=tmp_path).videos()
    folder = make_scene(tmp_path)
    with pytest.raises(DataError, match=r"data.sequences: no such folder: .*seq-09"):
        SevenScenes(root=tmp_path, sequences=["seq-09"]).videos()
    (folder / "frame-000001.depth.png").unlink()
    with pytest.raises(DataError, match=r"frame-000001.depth.png: no such file"):
        SevenScenes(root=tmp_path).read(0, 1)
    (folder / "frame-000002.pose.txt").write_text("1 2 3")
    with pytest.raises(DataError, match=r"frame-000002.pose.txt: expected 16 numbers, found 3"):
        SevenScenes(root=tmp_path).read(0, 2)
    Image.fromarray(np.zeros((10, 10), np.uint16)).save(folder / "frame-000000.depth.png")
    with pytest.raises(DataError, match=r"frame-000000.depth.png: 10x10 pixels, its RGB image has 64x48"):
        SevenScenes(root=tmp_path).read(0, 0)
