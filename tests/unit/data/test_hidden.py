"""Files that other systems leave beside the user's own: every reader passes over them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.trainings import configuration
from weightsearch.data.dataset import open_dataset
from weightsearch.data.hidden import visible
from weightsearch.data.sources.kitti_raw import KittiRaw
from weightsearch.data.sources.nyu import Nyu
from weightsearch.data.sources.seven_scenes import SevenScenes
from weightsearch.evaluation.predictions import Meaning, evaluate_predictions
from weightsearch.training.features import _load as load_features


def leave(folder: Path) -> None:
    """Hidden files of macOS, Windows, a Synology server and a file manager, and a companion beside each file."""
    for file in [one for one in folder.iterdir() if one.is_file()]:
        (folder / f"._{file.name}").write_bytes(b"\x00\x05\x16\x07")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"\x00")
    for name in ("@eaDir", "__MACOSX", ".thumbnails"):
        for file in [one for one in folder.iterdir() if one.is_file() and not one.name.startswith(".")]:
            (folder / name / file.name).mkdir(parents=True)


def leave_everywhere(root: Path) -> None:
    for folder in [root, *(one for one in root.rglob("*") if one.is_dir())]:
        leave(folder)


def test_only_names_below_the_searched_folder_matter(tmp_path):
    hidden = tmp_path / ".cache" / "data"
    names = ("a.png", "._a.png", "x/.DS_Store", "@eaDir/a.png/b.jpg", "Thumbs.db", "__MACOSX/a.png", "x/a.png")
    assert visible([hidden / name for name in names], hidden) == [hidden / "a.png", hidden / "x/a.png"]


def test_kitti_s_drives(tmp_path, data_root):
    root = tmp_path / "kitti"
    drive = root / "2011_09_26" / "2011_09_26_drive_9001_sync"
    real = data_root / "kitti_raw" / "2011_09_26"
    for kind in ("image_02/data/{}.jpg", "velodyne_points/data/{}.bin"):
        for number in range(2):
            file = kind.format(f"{number:010d}")
            (drive / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(real / drive.name / file, drive / file)
    for name in ("calib_cam_to_cam.txt", "calib_velo_to_cam.txt"):
        shutil.copy(real / name, drive.parent)
    expected = [(video.name, video.length) for video in KittiRaw(root=root).videos()]
    assert expected == [("2011_09_26_drive_9001_sync/image_02", 2)]
    leave_everywhere(root)
    shutil.copytree(drive, root / ".Trash-0" / drive.name)
    for neighbours in ((), (1,)):
        source = KittiRaw(root=root, neighbours=neighbours)
        assert [(video.name, video.length) for video in source.videos()] == expected
        assert source.left_out == 0
    assert (KittiRaw(root=root).read(0, 1).depth > 0).any()


def test_rooms_of_nyu_and_7_scenes(tmp_path):
    picture, depth = Image.fromarray(np.zeros((8, 8, 3), np.uint8)), Image.fromarray(np.full((8, 8), 2000, np.uint16))
    room, scene = tmp_path / "nyu" / "room", tmp_path / "scenes" / "seq-01"
    for folder in (room, scene):
        folder.mkdir(parents=True)
    picture.save(room / "rgb_00001.jpg")
    depth.save(room / "sync_depth_00001.png")
    picture.save(scene / "frame-000000.color.png")
    depth.save(scene / "frame-000000.depth.png")
    leave_everywhere(tmp_path / "nyu")
    leave_everywhere(tmp_path / "scenes")
    assert [(video.name, video.length) for video in Nyu(root=tmp_path / "nyu").videos()] == [("room", 1)]
    assert [(one.name, one.length) for one in SevenScenes(root=tmp_path / "scenes").videos()] == [("seq-01", 1)]


def test_predictions(tiny, tmp_path):
    found = configuration(tiny)
    (tmp_path / "many").mkdir()
    for number in range(len(open_dataset(found).splits["test"])):
        np.save(tmp_path / "many" / f"{number}.npy", np.full((8, 12), 2.0))
    expected = evaluate_predictions(found, tmp_path / "many", "test", Meaning())
    leave(tmp_path / "many")
    assert evaluate_predictions(found, tmp_path / "many", "test", Meaning()) == expected


def test_features_in_a_cache_on_somebody_s_disk(tmp_path):
    for level in range(2):
        np.save(tmp_path / f"{level}.npy", np.full((3, 2, 4, 4), level, np.float32))
    leave(tmp_path)
    found = load_features(tmp_path, 3)
    assert found is not None
    assert [level[0, 0, 0, 0] for level in found] == [0, 1]
