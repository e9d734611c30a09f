from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.helpers.lists import make
from weightsearch.data.sources.file_list import FileList
from weightsearch.errors import DataError, OptionError


@pytest.mark.parametrize(
    ("folder", "scale", "median", "coverage"),
    [("nyu_demo", 1000, (1.5, 4), (0.6, 1)), ("kitti_demo", 256, (8, 20), (0.15, 0.25))],
)
def test_real_pairs_are_in_metres(data_root, tmp_path, folder, scale, median, coverage):
    root = data_root / "pairs" / folder
    pictures = sorted((root / "rgb").iterdir())
    depths = sorted((root / "depth").iterdir())
    lines = [f"rgb/{one.name} depth/{other.name} 518.9" for one, other in zip(pictures, depths, strict=True)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    source = FileList(root=root, train=str(tmp_path / "list.txt"), depth_scale=scale, sparse=folder == "kitti_demo")
    assert [video.length for video in source.videos()] == [3]
    for index in range(3):
        frame = source.read(0, index)
        known = frame.depth[frame.depth > 0]
        assert median[0] < np.median(known) < median[1]
        assert coverage[0] < len(known) / frame.depth.size <= coverage[1]
        assert frame.depth.max() < 90
        assert frame.intrinsics[0, 0] == 518.9


def test_none_is_left_out_and_a_slash_before_a_path_does_not_matter(tmp_path):
    make(tmp_path)
    (tmp_path / "train.txt").write_text("/0.png 0.depth.png 100\n1.png None 100\n2.png /2.depth.png\n")
    source = FileList(root=tmp_path, train="train.txt")
    (video,) = source.videos()
    assert (video.length, video.split) == (2, "train")
    first, second = source.read(0, 0), source.read(0, 1)
    assert (first.depth == 0.5).all()
    assert (second.depth == 1.5).all()
    assert first.intrinsics.tolist() == [[100, 0, 15.5], [0, 100, 11.5], [0, 0, 1]]
    assert np.isnan(second.intrinsics[0, 0])
    assert np.isnan(first.pose).all()
    names = ("train.txt", "0.png", "0.depth.png", "2.png", "2.depth.png")
    assert source.files() == [tmp_path / name for name in names]


def test_lists_of_their_own_and_numpy_depth_elsewhere(tmp_path):
    make(tmp_path)
    (tmp_path / "far").mkdir()
    np.save(tmp_path / "far/d.npy", np.full((24, 32), 2.5))
    for name, number in (("train", 0), ("validation", 1), ("test", 2)):
        (tmp_path / f"{name}.txt").write_text(f"{number}.png d.npy\n")
    source = FileList(root=tmp_path, train="train.txt", validation="validation.txt", test="test.txt", depth_root="far")
    assert [video.split for video in source.videos()] == ["train", "validation", "test"]
    assert (source.read(2, 0).depth == 2.5).all()
    assert source.read(2, 0).image[0, 0, 0] == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.png\n", r"l.txt:1: expected 'rgb depth' or 'rgb depth focal', found '0.png'"),
        ("0.png 0.depth.png 3 4\n", r"l.txt:1: expected"),
        ("\n0.png 0.depth.png far\n", r"l.txt:2: expected a focal length in pixels or None, found 'far'"),
        ("0.png 0.depth.png 0\n", r"l.txt:1: expected a focal length in pixels or None, found '0'"),
        ("0.png 0.depth.png -5\n", r"found '-5'"),
        ("0.png 0.depth.png inf\n", r"found 'inf'"),
        ("0.png None 5\n", "no frame of the list has depth"),
    ],
)
def test_a_bad_list_is_an_error_with_its_line(tmp_path, text, message):
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        FileList(root=tmp_path, train="l.txt")


def test_bad_depth_is_named(tmp_path):
    make(tmp_path)
    np.save(tmp_path / "three.npy", np.zeros((2, 24, 32)))
    np.save(tmp_path / "small.npy", np.ones((12, 16)))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(tmp_path / "eight.png")
    names = ("three.npy", "small.npy", "broken.npy", "eight.png", "missing.npy")
    (tmp_path / "l.txt").write_text("".join(f"0.png {name}\n" for name in names))
    source = FileList(root=tmp_path, train="l.txt")
    for index, message in enumerate(
        (
            r"three.npy: expected an array \[H, W\]",
            r"small.npy: 16x12 pixels, its RGB image has 32x24",
            "broken.npy: ",
            "eight.png: expected a 16-bit depth map, found mode L",
            "missing.npy: no such file",
        )
    ):
        with pytest.raises(DataError, match=message):
            source.read(0, index)
    with pytest.raises(DataError, match=r"cannot read the list .*gone.txt: No such file"):
        FileList(root=tmp_path, train="gone.txt")


def test_lists_with_paths_from_folders_of_their_own(tmp_path):
    """As BTS has NYU: `sync` for training, `official_splits/test` for testing."""
    for folder in ("sync/kitchen", "official_splits/test/kitchen"):
        (tmp_path / folder).mkdir(parents=True)
        make(tmp_path / folder, 1 if "sync" in folder else 2)
    (tmp_path / "train.txt").write_text("/kitchen/0.png /kitchen/0.depth.png 518.8\n")
    (tmp_path / "test.txt").write_text("kitchen/1.png kitchen/1.depth.png 518.8\n")
    source = FileList(
        root=tmp_path, train="train.txt", test="test.txt", train_root="sync", test_root="official_splits/test"
    )
    assert (source.read(0, 0).depth == 0.5).all()
    assert (source.read(1, 0).depth == 1.0).all()
    assert source.files()[:2] == [tmp_path / "train.txt", tmp_path / "test.txt"]
    with pytest.raises(OptionError, match="train: is missing; a data set needs one of the lists"):
        FileList(root=tmp_path)


def test_depth_that_is_not_a_number_is_not_known(tmp_path):
    make(tmp_path)
    depth = np.full((24, 32), 2.0)
    depth[0] = np.nan
    depth[1] = np.inf
    np.save(tmp_path / "d.npy", depth)
    (tmp_path / "test.txt").write_text("\ufeff0.png d.npy None\n", encoding="utf-8")
    source = FileList(root=tmp_path, test="test.txt")
    frame = source.read(0, 0)
    assert np.isnan(frame.intrinsics[0, 0])
    assert (frame.depth[:2] == 0).all()
    assert (frame.depth[2:] == 2).all()
    depth[5, 5] = -np.inf
    np.save(tmp_path / "d.npy", depth)
    with pytest.raises(DataError, match=r"d.npy: depth is negative; unknown depth is 0"):
        source.read(0, 0)
