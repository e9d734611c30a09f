"""Frames that lists name, with their neighbours from the drives that they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tests.helpers.kitti import DRIVE, make_drive
from weightsearch.config import load_base
from weightsearch.config.schema import Split
from weightsearch.data.check import check_data
from weightsearch.data.dataset import open_dataset
from weightsearch.data.drives import stretches
from weightsearch.data.source import Listed, Video
from weightsearch.data.sources.kitti_raw import KittiRaw
from weightsearch.data.split import beside, cut, with_neighbours
from weightsearch.errors import DataError, OptionError
from weightsearch.evaluation.predictions import frame_names
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.training.loop import Trainer


@pytest.fixture
def kitti(data_root: Path) -> Path:
    return data_root / "kitti_raw"


def write(folder: Path, **lists: list[tuple[int, str]]) -> dict[str, str]:
    """Split files of one drive."""
    for split, frames in lists.items():
        (folder / f"{split}.txt").write_text("".join(f"{DRIVE} {number:010d} {side}\n" for number, side in frames))
    return {split: f"{split}.txt" for split in lists}


def numbers(source: KittiRaw, video: int) -> list[int]:
    return [int(picture.stem) for picture in source.parts[video][1]]


def test_a_list_s_frames_have_the_neighbours_of_their_drive(tmp_path, kitti):
    make_drive(tmp_path, kitti, count=12)
    lists = write(tmp_path, train=[(6, "l"), (3, "r"), (4, "l")], validation=[(9, "l")], test=[(3, "r"), (0, "r")])
    source = KittiRaw(root=tmp_path, neighbours=(-1, 2), **lists)
    left, right = source.videos()
    assert (left.name[-14:], right.name[-13:]) == ("/image_02 3-11", "/image_03 0-5")
    assert numbers(source, 0) == list(range(3, 12))  # one before the first, two behind the last
    assert numbers(source, 1) == list(range(6))
    splits = cut(source.videos(), Split())
    assert splits == {"train": [3, 12, 1], "validation": [6], "test": [12, 9]}  # in the order of the lists
    assert with_neighbours(splits, source.videos(), (-1, 2)) == splits


def test_only_training_frames_must_have_all_their_neighbours():
    videos = [
        Video("a", 3, listed=(Listed("train", 1, 0), Listed("train", 0, 1), Listed("test", 0, 2))),
        Video("b", 2, listed=(Listed("train", 2, 1), Listed("validation", 0, 0))),
        Video("c", 2, listed=(Listed("test", 1, 1),)),
    ]
    splits = cut(videos, Split())
    assert splits == {"train": [1, 0, 4], "validation": [3], "test": [2, 6]}
    assert with_neighbours(splits, videos, (-1, 1)) == {"train": [1], "validation": [3], "test": [2, 6]}
    found = beside(videos, np.array([1, 2, 3, 6]), (-1, 1))
    assert found.tolist() == [[0, 2], [1, 2], [3, 4], [5, 6]]  # where a drive ends the frame itself


def test_pictures_beside_a_gap_are_no_neighbours(tmp_path, kitti):
    drive = make_drive(tmp_path, kitti, count=12)
    (drive / "image_02/data/0000000005.png").unlink()
    whole = KittiRaw(root=tmp_path, neighbours=(-1, 1))
    assert [numbers(whole, video) for video in range(2)] == [[0, 1, 2, 3, 4], [6, 7, 8, 9, 10, 11]]
    assert whole.videos()[1].name.endswith("image_02 6-11")
    lists = write(tmp_path, train=[(4, "l"), (7, "l")], validation=[(9, "l")])
    listed = KittiRaw(root=tmp_path, neighbours=(-1, 1), **lists)
    splits = with_neighbours(cut(listed.videos(), Split()), listed.videos(), (-1, 1))
    kept = [
        Path(listed.name(video, index)).stem for video, index in [(1, splits["train"][0] - listed.videos()[0].length)]
    ]
    assert (len(splits["train"]), kept) == (1, ["0000000007"])
    assert [video.length for video in KittiRaw(root=tmp_path).videos()] == [11]  # without neighbours it does not matter


def test_what_is_wrong_with_lists_is_named(tmp_path, kitti):
    make_drive(tmp_path, kitti)
    with pytest.raises(OptionError, match="validation: found none; with data.neighbours a training list"):
        KittiRaw(root=tmp_path, neighbours=(1,), **write(tmp_path, train=[(1, "l")]))
    lists = write(tmp_path, test=[(1, "l"), (77, "l"), (78, "l")])
    with pytest.raises(DataError, match=r"image_02/data/0000000077.png: no such file, nor 1 more of this folder"):
        KittiRaw(root=tmp_path, neighbours=(1,), **lists)
    with pytest.raises(DataError, match=r"frame_a.png: expected a number such as 0000000012"):
        stretches([tmp_path / "frame_a.png"])


def test_the_kitti_study_trains_by_lists_as_eigens_are_written(tmp_path, kitti, monkeypatch):
    """On lists made of the shared drive, beside links to its pictures; a test frame without neighbours counts too."""
    monkeypatch.setenv("KITTI", str(tmp_path))
    (tmp_path / DRIVE.split("/")[0]).symlink_to(kitti / DRIVE.split("/")[0])
    lists = {
        "eigen_zhou/train_files.txt": [12, 30, 31, 29],
        "eigen_zhou/val_files.txt": [50, 52],
        "eigen/test_files.txt": [70, 0, 77],
    }
    for name, frames in lists.items():
        path = tmp_path / "splits" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{DRIVE} {number:010d} l\n" for number in frames))
    small = "model={name: co_training, encoder: test_efficientnet, channels: 4, flow_channels: 4, flow_levels: 3}"
    sets = [small, "data.size=[48, 160]", "train.batch_size=2", "analysis.budget=0"]
    found = load_base(ROOT / "studies" / "cotraining_kitti.yaml", sets)
    assert check_data(found).problems == ()
    data = open_dataset(found)
    assert {name: len(indices) for name, indices in data.splits.items()} == {"train": 4, "validation": 2, "test": 3}
    assert [Path(name).stem for name in frame_names(found, "test")] == ["0000000070", "0000000000", "0000000077"]
    batch = data.to_batch(data.gather(data.splits["test"]), torch.device("cpu"))
    before, after = batch.neighbours.image.unbind(1)
    assert torch.equal(before[1], batch.image[1])  # the drive begins there
    assert torch.equal(after[2], batch.image[2])  # and ends there
    assert not torch.equal(after[1], batch.image[1])
    record = Trainer(found, data, torch.device("cpu")).train_epoch()
    assert {"epipolar", "photometric_rigid"} <= set(record.terms)
    protocol = protocol_of(found, "test")
    assert (protocol.crop, protocol.median_scaling, protocol.min_depth, protocol.max_depth) == ("garg", True, 1e-3, 80)
    assert 0 < record.metrics["abs_rel"] < 5


def test_a_frame_in_two_lists_is_told(tmp_path, kitti, monkeypatch):
    monkeypatch.setenv("KITTI", str(tmp_path))
    make_drive(tmp_path, kitti, count=6)
    write(tmp_path, train=[(1, "l"), (2, "l")], validation=[(4, "l")], test=[(2, "l")])
    sets = [f"data.{split}={split}.txt" for split in ("train", "validation", "test")]
    found = load_base(ROOT / "studies" / "cotraining_kitti.yaml", sets)
    assert any("in train and in test" in line for line in check_data(found).problems)
