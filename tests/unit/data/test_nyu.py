from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from weightsearch.config import load_configuration
from weightsearch.data.dataset import open_dataset
from weightsearch.data.images import resize_colour
from weightsearch.data.sources.nyu import Nyu
from weightsearch.errors import DataError, OptionError

CLOSED = ["loss.fractional.weight=10", "loss.consistency.weight=0.5"]


def make_labelled(root: Path, count: int = 5) -> Path:
    """A file in the labelled data set's layout: MATLAB writes its axes in the opposite order."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 480, 640, 3)).astype(np.uint8)
    depths = rng.uniform(0.7, 9.9, (count, 480, 640)).astype(np.float32)
    raw = np.where(rng.uniform(size=depths.shape) < 0.2, 0, depths)
    path = root / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["images"] = images.transpose(0, 3, 2, 1)
        file["depths"] = depths.transpose(0, 2, 1)
        file["rawDepths"] = raw.transpose(0, 2, 1).astype(np.float32)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    np.savez(root / "expected.npz", images=images, depths=depths, raw=raw)
    return path


def test_the_labelled_file_is_read_the_right_way_round(tmp_path):
    make_labelled(tmp_path)
    expected = np.load(tmp_path / "expected.npz")
    filled, raw = Nyu(root=tmp_path), Nyu(root=tmp_path, depth="raw")
    assert [(video.length, video.split) for video in filled.videos()] == [(5, None)]
    for index in (0, 4):
        frame = filled.read(0, index)
        assert np.array_equal(frame.image, expected["images"][index])
        assert np.array_equal(frame.depth, expected["depths"][index])
        assert np.array_equal(raw.read(0, index).depth, expected["raw"][index].astype(np.float32))
    assert frame.intrinsics[0, 0] == pytest.approx(518.8579)
    assert filled.files() == [tmp_path / "nyu_depth_v2_labeled.mat"]


def test_lists_of_numbers_choose_the_frames(tmp_path):
    make_labelled(tmp_path)
    expected = np.load(tmp_path / "expected.npz")["images"]
    (tmp_path / "train.txt").write_text("1\n3\n4\n")
    (tmp_path / "test.txt").write_text("2, 5")
    source = Nyu(root=tmp_path, train="train.txt", test="test.txt")
    assert [(video.length, video.split) for video in source.videos()] == [(3, "train"), (2, "test")]
    assert np.array_equal(source.read(0, 1).image, expected[2])
    assert np.array_equal(source.read(1, 1).image, expected[4])
    for number in ("6", "0", "1.5", "inf", "nan"):
        (tmp_path / "test.txt").write_text(f"2 {number}")
        with pytest.raises(DataError, match=rf"test.txt:1: number {number}; the frames are 1 to 5"):
            Nyu(root=tmp_path, test="test.txt")


def test_lists_are_relative_to_the_root_wherever_the_file_lies(tmp_path):
    (tmp_path / "mat").mkdir()
    make_labelled(tmp_path / "mat", count=2)
    (tmp_path / "test.txt").write_text("frame\n# the second\n2\n")
    source = Nyu(root=tmp_path, file="mat/nyu_depth_v2_labeled.mat", test="test.txt")
    assert source.name(0, 0).endswith("nyu_depth_v2_labeled.mat, frame 2")


def test_the_eigen_folders(tmp_path, data_root):
    """`sync/SCENE/rgb_*.jpg` beside `sync_depth_*.png`, of real pictures."""
    real = data_root / "pairs" / "nyu_demo"
    for scene, part in (
        ("sync/kitchen_0001", (0, 50)),
        ("sync/office_0002", (100,)),
        ("official_splits/test/bath", (0,)),
    ):
        folder = tmp_path / scene
        folder.mkdir(parents=True)
        for number in part:
            shutil.copy(real / f"rgb/rgb_{number:05d}.jpg", folder)
            shutil.copy(real / f"depth/sync_depth_{number:05d}.png", folder)
    source = Nyu(root=tmp_path, train="sync", test="official_splits/test")
    assert [(video.length, video.split) for video in source.videos()] == [(3, "train"), (1, "test")]
    frame = source.read(0, 0)
    raw = np.asarray(Image.open(real / "depth/sync_depth_00000.png"))
    np.testing.assert_allclose(frame.depth, raw / 1000, rtol=1e-6)
    assert frame.depth[frame.depth > 0].min() > 0.5
    assert frame.depth.max() < 10
    by_scene = Nyu(root=tmp_path / "sync")
    assert [(video.name, video.length) for video in by_scene.videos()] == [("kitchen_0001", 2), ("office_0002", 1)]


def test_what_is_not_nyu_says_so(tmp_path):
    with pytest.raises(DataError, match=r"has neither nyu_depth_v2_labeled.mat nor SCENE/rgb_"):
        Nyu(root=tmp_path)
    with pytest.raises(DataError, match=r"data.train: no rgb_\*.jpg or .png below"):
        Nyu(root=tmp_path, train="sync")
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(DataError, match="nyu_depth_v2_labeled.mat: not a MATLAB file of version 7.3"):
        Nyu(root=tmp_path)
    (tmp_path / "test.txt").write_text("1")
    with pytest.raises(DataError, match=r"data.file: no such file: .*other.mat"):
        Nyu(root=tmp_path, file="other.mat", test="test.txt")
    with h5py.File(path, "w") as file:
        file.create_group("images")
        file["depths"] = np.zeros((2, 6, 8), np.float32)
    with pytest.raises(DataError, match="has no 'images'"):
        Nyu(root=tmp_path)
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((2, 3, 8, 6), np.uint8)
        file["depths"] = np.zeros((2, 6, 8), np.float32)
    with pytest.raises(DataError, match=r"images \(2, 3, 8, 6\) and depths \(2, 6, 8\) are not"):
        Nyu(root=tmp_path)
    with pytest.raises(DataError, match="has no 'rawDepths'"):
        Nyu(root=tmp_path, depth="raw")


def test_an_edited_list_is_read_again(tmp_path, tiny):
    """The cache knows the lists as well as the file."""
    make_labelled(tmp_path)
    (tmp_path / "train.txt").write_text("1 2 3")
    (tmp_path / "test.txt").write_text("4 5")
    data = f"data={{name: nyu, root: '{tmp_path}', size: [32, 48], min_depth: 0.3, max_depth: 10.0, "
    sets = [*CLOSED, data + "train: train.txt, test: test.txt, split: {train: 0.7, validation: 0.3, test: 0, gap: 0}}"]
    expected = np.load(tmp_path / "expected.npz")["images"]
    for numbers in ((4, 5), (5, 2)):
        (tmp_path / "test.txt").write_text(" ".join(map(str, numbers)))
        dataset = open_dataset(load_configuration(tiny, sets))
        found = dataset.frames.image[dataset.splits["test"]]
        for image, number in zip(found, numbers, strict=True):
            assert np.array_equal(image, resize_colour(expected[number - 1], (32, 48)))


def test_folders_win_over_the_labelled_file_beside_them(tmp_path):
    make_labelled(tmp_path)
    scene = tmp_path / "sync" / "kitchen"
    scene.mkdir(parents=True)
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(scene / "rgb_00000.png")
    Image.fromarray(np.full((24, 32), 1500, np.uint16)).save(scene / "sync_depth_00000.png")
    assert (Nyu(root=tmp_path, train="sync").read(0, 0).depth == 1.5).all()
    with pytest.raises(OptionError, match="depth: raw depth is in nyu_depth_v2_labeled.mat alone"):
        Nyu(root=tmp_path, train="sync", depth="raw")
