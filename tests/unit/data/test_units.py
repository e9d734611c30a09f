from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weightsearch.data.sources.file_list import FileList
from weightsearch.data.sources.kitti_raw import KittiRaw
from weightsearch.data.sources.nyu import Nyu
from weightsearch.data.sources.seven_scenes import SevenScenes
from weightsearch.data.units import Unit, convention, to_metres, unit_of


@pytest.mark.parametrize(("kind", "largest"), [("u1", 255), ("<u2", 65535), (">u2", 65535), ("i4", 2**31 - 1)])
def test_integers_are_units_per_metre_and_their_largest_value_is_unknown(kind, largest):
    values = np.array([0, 1, 100, largest - 1, largest], dtype=kind)
    metres = to_metres(values, Unit(integers=100))
    assert metres.dtype == np.float32
    assert metres.tolist() == pytest.approx([0, 0.01, 1, (largest - 1) / 100, 0], rel=1e-6)
    assert to_metres(values, Unit(integers=100), holes=False)[-1] == pytest.approx(largest / 100)


@pytest.mark.parametrize("kind", ["f2", "f4", ">f4", "f8"])
def test_floats_are_metres_and_what_is_not_finite_is_unknown(kind):
    values = np.array([0, np.nan, np.inf, 2.5, 65535.0 if kind != "f2" else 2048], dtype=kind)
    assert to_metres(values, Unit(integers=256)).tolist() == [0, 0, 0, 2.5, float(values[-1])]
    assert to_metres(values, Unit(floats=10))[3] == 0.25


@pytest.mark.parametrize("scale", [1000, 256, 5000])
def test_a_list_s_images_and_integer_arrays_are_in_the_same_unit(tmp_path, scale):
    """An integer `.npy` was metres here and millimetres among predictions."""
    raw = np.array([[0, 65535, 2 * scale, 3 * scale]], np.uint16).repeat(3, 0)
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "rgb.png")
    Image.fromarray(raw).save(tmp_path / "d.png")
    np.save(tmp_path / "d.npy", raw)
    np.save(tmp_path / "wide.npy", np.where(raw == 65535, np.iinfo(np.int64).max, raw.astype(np.int64)))
    np.save(tmp_path / "metres.npy", np.where(raw == 65535, np.inf, raw / scale))
    names = ("d.png", "d.npy", "wide.npy", "metres.npy")
    (tmp_path / "l.txt").write_text("".join(f"rgb.png {name}\n" for name in names))
    source = FileList(root=tmp_path, train="l.txt", depth_scale=scale)
    for index in range(len(names)):
        assert source.read(0, index).depth[0].tolist() == [0, 0, 2, 3]
    assert source.stored() == "integers"
    (tmp_path / "l.txt").write_text("rgb.png metres.npy\n")
    millimetres = FileList(root=tmp_path, train="l.txt", depth_scale=scale, float_scale=1000)
    assert millimetres.read(0, 0).depth[0, 2] == np.float32(0.002)
    assert millimetres.stored() == "floats"


def test_every_reader_of_images_takes_the_largest_value_for_a_hole(tmp_path, data_root):
    raw = np.full((48, 64), 2000, np.uint16)
    raw[:8], raw[8:16] = 65535, 0
    picture = Image.fromarray(np.zeros((48, 64, 3), np.uint8))
    scene = tmp_path / "scenes" / "seq-01"
    scene.mkdir(parents=True)
    picture.save(scene / "frame-000000.color.png")
    Image.fromarray(raw).save(scene / "frame-000000.depth.png")
    (scene / "frame-000000.pose.txt").write_text(" ".join(str(one) for one in np.eye(4).flatten()))
    room = tmp_path / "nyu" / "room"
    room.mkdir(parents=True)
    picture.save(room / "rgb_0.png")
    Image.fromarray(raw).save(room / "sync_depth_0.png")
    for source in (SevenScenes(root=tmp_path / "scenes"), Nyu(root=tmp_path / "nyu")):
        depth = source.read(0, 0).depth
        assert (depth[:16] == 0).all()
        assert (depth[16:] == 2).all()
    improved = tmp_path / "improved/2011_09_26_drive_9001_sync/proj_depth/groundtruth/image_02"
    improved.mkdir(parents=True)
    raw = np.full((375, 1242), 512, np.uint16)
    raw[:10] = 65535
    Image.fromarray(raw).save(improved / "0000000000.png")
    drive = KittiRaw(root=data_root / "kitti_raw", depth_root=str(tmp_path / "improved"))
    assert drive.name(0, 0).endswith("0000000000.jpg")
    depth = drive.read(0, 0).depth
    assert (depth[:10] == 0).all()
    assert (depth[10:] == 2).all()


def test_data_sets_say_their_unit_and_others_have_the_usual_one(data_root):
    assert unit_of(KittiRaw(root=data_root / "kitti_raw")) == Unit(integers=256)
    assert unit_of(SevenScenes(root=Path())) == unit_of(object()) == Unit(integers=1000, floats=1)
    assert unit_of(type("Mine", (), {"unit": "mm"})()) == Unit()
    assert convention(5000) == "5000 units per metre (as in TUM RGB-D)"
    assert convention(7) == "7 units per metre"


def test_floats_beyond_float32_are_unknown_like_infinity():
    values = np.array([[1.7e308, 1e39, np.inf, 2.0]])
    assert to_metres(values, Unit()).tolist() == [[0, 0, 0, 2]]
    assert to_metres(np.array([[3e38, 2.0]], np.float32), Unit(floats=0.25)).tolist() == [[0, 8]]
