from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.kitti import DATE, DRIVE, make_drive
from weightsearch.config import load_configuration
from weightsearch.data.cache import open_frames
from weightsearch.data.sources.kitti_raw import KittiRaw, project, read_scan, velodyne_to_image
from weightsearch.errors import DataError, OptionError
from weightsearch.evaluation.protocols import protocol_of


@pytest.fixture(scope="module")
def root(data_root: Path) -> Path:
    return data_root / "kitti_raw"


def test_the_real_drive_has_the_depth_that_is_known_of_it(root):
    source = KittiRaw(root=root, stride=13)
    (video,) = source.videos()
    assert video.name == f"{DATE}_drive_9001_sync/image_02"
    assert video.length == 6
    for index in range(video.length):
        frame = source.read(0, index)
        assert frame.image.shape == (375, 1242, 3)
        assert frame.sparse
        known = frame.depth[frame.depth > 0]
        assert 0.03 < len(known) / frame.depth.size < 0.04
        assert np.quantile(known, 0.01) > 3
        assert np.quantile(known, 0.99) < 80
        assert (frame.depth[:100] > 0).sum() < 0.02 * len(known)  # the laser hardly looks higher
    assert frame.intrinsics[0, 0] == pytest.approx(721.5, abs=1)


def test_projection_agrees_with_the_definition_point_by_point(root):
    """KITTI's own formula, P_rect R_rect (R|T), one point at a time; of several points on a pixel the nearest."""
    date = root / DATE
    points = read_scan(date / f"{DATE}_drive_9001_sync/velodyne_points/data/0000000040.bin")[::7]

    def numbers(file: str, name: str) -> np.ndarray:
        for line in (date / file).read_text().splitlines():
            if line.startswith(f"{name}:"):
                return np.array(line.split(":", 1)[1].split(), dtype=float)
        raise AssertionError(name)

    cameras, laser = "calib_cam_to_cam.txt", "calib_velo_to_cam.txt"
    rotation, shift = numbers(laser, "R").reshape(3, 3), numbers(laser, "T")
    rectify, camera = numbers(cameras, "R_rect_00").reshape(3, 3), numbers(cameras, "P_rect_02").reshape(3, 4)
    expected: dict[tuple[int, int], float] = {}
    for x, y, z in points.astype(float):
        there = rectify @ (rotation @ [x, y, z] + shift)
        u, v, w = camera @ [*there, 1.0]
        if x < 0 or w <= 0:
            continue
        pixel = (round(v / w), round(u / w))
        if 0 <= pixel[0] < 375 and 0 <= pixel[1] < 1242:
            expected[pixel] = min(w, expected.get(pixel, np.inf))
    depth = project(points, velodyne_to_image(date, 2), (375, 1242))
    assert len(expected) > 1000
    assert np.count_nonzero(depth) == len(expected)
    for pixel, metres in expected.items():
        assert depth[pixel] == pytest.approx(metres, rel=1e-5)


def test_the_nearest_of_points_on_a_pixel_wins_whatever_their_order():
    matrix = np.array([[10.0, 0, 2, 0], [0, 10.0, 2, 0], [0, 0, 1, 0]])
    points = np.array([[0.0, 0, 5], [0, 0, 2], [0, 0, 9], [1, 0, -3]], dtype=np.float32)
    for order in ([0, 1, 2, 3], [2, 0, 3, 1], [1, 2, 0, 3]):
        depth = project(points[order], matrix, (5, 5))
        assert depth[2, 2] == 2
        assert np.count_nonzero(depth) == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_split_files_name_frames_by_drive_number_and_side(tmp_path, root, suffix):
    make_drive(tmp_path, root, suffix=suffix)
    (tmp_path / "train.txt").write_text(f"{DRIVE} 0000000002 l\n{DRIVE} 1 r\n\n")
    (tmp_path / "test.txt").write_text(f"{DRIVE} 3\n")
    source = KittiRaw(root=tmp_path, train="train.txt", test="test.txt")
    assert [(video.length, video.split) for video in source.videos()] == [(2, "train"), (1, "test")]
    shades = [int(source.read(video, index).image.mean()) for video, index in ((0, 0), (0, 1), (1, 0))]
    assert shades == pytest.approx([52, 91, 53], abs=1)
    assert np.median(source.read(0, 0).depth[source.read(0, 0).depth > 0]) == pytest.approx(11.7, abs=0.1)


def test_the_two_cameras_see_the_same_wall_half_a_metre_apart(tmp_path, root):
    make_drive(tmp_path, root)
    source = KittiRaw(root=tmp_path, cameras=[2, 3])
    assert [video.name[-8:] for video in source.videos()] == ["image_02", "image_03"]
    left, right = (source.read(video, 0).depth for video in (0, 1))
    first = [np.nonzero(depth)[1].min() for depth in (left, right)]
    assert first[0] - first[1] == pytest.approx(721.5 * 0.5327 / 11.73, abs=2)


def test_the_improved_depth_is_taken_where_it_is(tmp_path, root):
    make_drive(tmp_path, root)
    folder = tmp_path / f"better/train/{DATE}_drive_9001_sync/proj_depth/groundtruth/image_02"
    folder.mkdir(parents=True)
    raw = np.zeros((375, 1242), np.uint16)
    raw[200, 300] = 25 * 256 + 64
    Image.fromarray(raw).save(folder / "0000000001.png")
    source = KittiRaw(root=tmp_path, depth_root="better")
    assert source.read(0, 1).depth[200, 300] == 25.25
    assert np.count_nonzero(source.read(0, 1).depth) == 1
    assert np.count_nonzero(source.read(0, 2).depth) > 100
    assert folder / "0000000001.png" in source.files()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("somewhere", "train.txt:2: expected 'drive frame side'"),
        ("a b c", "train.txt:2: expected 'drive frame side'"),
        ("a 3 x", "train.txt:2: expected 'drive frame side'"),
        ("a ² l", "train.txt:2: expected 'drive frame side'"),
    ],
)
def test_a_bad_line_of_a_split_file_is_named(tmp_path, root, line, message):
    make_drive(tmp_path, root)
    (tmp_path / "train.txt").write_text(f"{DRIVE} 0 l\n{line}\n")
    with pytest.raises(DataError, match=message):
        KittiRaw(root=tmp_path, train="train.txt")


def test_bad_files_are_named(tmp_path, root):
    drive = make_drive(tmp_path, root)
    source = KittiRaw(root=tmp_path)
    (drive / "velodyne_points/data/0000000001.bin").write_bytes(b"\0" * 20)
    with pytest.raises(DataError, match=r"0000000001.bin: 20 bytes, expected a multiple of 16"):
        source.read(0, 1)
    (drive / "velodyne_points/data/0000000002.bin").unlink()
    with pytest.raises(DataError, match=r"0000000002.bin: no such file"):
        source.read(0, 2)
    np.full(8, np.nan, dtype="<f4").tofile(drive / "velodyne_points/data/0000000003.bin")
    with pytest.raises(DataError, match=r"0000000003.bin: a point is not finite"):
        source.read(0, 3)
    other = tmp_path / "other"
    make_drive(other, root)
    (other / DATE / "calib_velo_to_cam.txt").write_text("R: 1 0 0\n")
    with pytest.raises(DataError, match=r"calib_velo_to_cam.txt: expected 9 finite numbers in a line 'R:'"):
        KittiRaw(root=other).read(0, 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"data.root: .*empty has no DATE/DRIVE/image_02"):
        KittiRaw(root=tmp_path / "empty")
    (tmp_path / "lost.txt").write_text(f"{DRIVE} 77 l\n")
    with pytest.raises(DataError, match=r"0000000077.png: no such file"):
        KittiRaw(root=tmp_path, test="lost.txt").read(0, 0)


def test_pictures_without_a_scan_are_left_out_where_no_split_file_names_them(tmp_path, root):
    """KITTI's drive 2011_09_26_drive_0009 lacks four scans."""
    drive = make_drive(tmp_path, root, count=6)
    (drive / "velodyne_points/data/0000000002.bin").unlink()
    source = KittiRaw(root=tmp_path)
    assert [video.length for video in source.videos()] == [5]
    assert source.left_out == 1
    assert "0000000003" in source.read(0, 2).name
    Image.fromarray(np.zeros((375, 1242, 3), np.uint8)).save(drive / "image_02/data/0000000004.jpg")
    assert [video.length for video in KittiRaw(root=tmp_path).videos()] == [5]  # one of .jpg and .png


def test_where_improved_depth_is_asked_for_it_must_be_there(tmp_path, root):
    make_drive(tmp_path, root)
    with pytest.raises(OptionError, match="depth_root: no such folder: .*nowhere"):
        KittiRaw(root=tmp_path, depth_root="nowhere")
    (tmp_path / "better").mkdir()
    with pytest.raises(OptionError, match=r"depth_root: .*better has improved depth for none of the frames"):
        KittiRaw(root=tmp_path, depth_root="better")
    folder = tmp_path / f"better/{DATE}_drive_9001_sync/proj_depth/groundtruth/image_02"  # train and val in one
    folder.mkdir(parents=True)
    Image.fromarray(np.full((375, 1242), 5 * 256, np.uint16)).save(folder / "0000000002.png")
    assert [video.length for video in KittiRaw(root=tmp_path, depth_root="better").videos()] == [4]
    source = KittiRaw(root=tmp_path, depth_root="better", without_improved="leave_out")
    assert [video.length for video in source.videos()] == [1]
    assert (source.read(0, 0).depth == 5).all()


def test_options_that_would_do_nothing_are_refused(tmp_path, root):
    make_drive(tmp_path, root)
    (tmp_path / "train.txt").write_text(f"{DRIVE} 0 l\n")
    with pytest.raises(OptionError, match="stride: cannot be combined with split files, which name the frames"):
        KittiRaw(root=tmp_path, train="train.txt", stride=2)
    with pytest.raises(OptionError, match="without_improved: found leave_out without a depth_root"):
        KittiRaw(root=tmp_path, without_improved="leave_out")


def test_with_neighbours_only_split_files_choose_the_frames_with_improved_depth(tmp_path, root):
    make_drive(tmp_path, root)
    folder = tmp_path / f"better/{DATE}_drive_9001_sync/proj_depth/groundtruth/image_02"
    folder.mkdir(parents=True)
    for number in (2, 3):
        Image.fromarray(np.full((375, 1242), 5 * 256, np.uint16)).save(folder / f"{number:010d}.png")
    with pytest.raises(OptionError, match="without_improved: found leave_out; with data.neighbours .* set laser, and"):
        KittiRaw(root=tmp_path, depth_root="better", without_improved="leave_out", neighbours=(-1, 1))
    (tmp_path / "train.txt").write_text(f"{DRIVE} 1 l\n")
    (tmp_path / "validation.txt").write_text(f"{DRIVE} 2 l\n{DRIVE} 3 l\n")
    source = KittiRaw(
        root=tmp_path, train="train.txt", validation="validation.txt", depth_root="better", neighbours=(-1, 1)
    )
    (video,) = source.videos()
    measured = [one.index for one in video.listed or () if one.split == "validation"]
    assert all((source.read(0, index).depth == 5).all() for index in measured)
    assert len(measured) == 2


def test_the_published_truth_is_what_export_gt_depth_makes(root):
    """Written after its description, one point at a time: x of the laser, at round(u) - 1, round(v) - 1; the nearest of
    several on a pixel. Within Garg's crop and 80 m every pixel is equal."""
    date = root / DATE
    points = read_scan(date / f"{DATE}_drive_9001_sync/velodyne_points/data/0000000040.bin")
    matrix = velodyne_to_image(date, 2)
    expected: dict[tuple[int, int], float] = {}
    for point in points:
        if point[0] < 0:
            continue
        u, v, w = matrix @ [*point.astype(float), 1.0]
        pixel = (round(v / w) - 1, round(u / w) - 1)
        if 0 <= pixel[0] < 375 and 0 <= pixel[1] < 1242:
            expected[pixel] = min(float(point[0]), expected.get(pixel, np.inf))
    depth = KittiRaw(root=root, laser_depth="published").read(0, 40).depth
    assert np.count_nonzero(depth) == len(expected) > 10_000
    assert all(depth[pixel] == np.float32(metres) for pixel, metres in expected.items())


def test_the_published_truth_lies_farther_and_one_pixel_away(root):
    """By .28 m on average, as the laser is mounted behind the camera."""
    camera, published = (KittiRaw(root=root, laser_depth=kind).read(0, 40).depth for kind in ("camera", "published"))
    there = camera[1:, 1:]
    here = published[:-1, :-1]
    assert np.array_equal(here > 0, there > 0)
    both = there > 0
    assert float((here[both] - there[both]).mean()) == pytest.approx(0.28, abs=0.02)


def test_the_protocol_says_which_truth_was_used_and_caches_are_apart(tiny, root):
    sets = ["loss.fractional.weight=1", "loss.consistency.weight=1", "evaluation=kitti_eigen"]
    data = f"data={{name: kitti_raw, root: '{root}', stride: 26, size: [32, 96], min_depth: 1, max_depth: 80"
    said, depths = [], []
    for more in ("", ", laser_depth: published", ", depth_root: '.'"):
        configuration = load_configuration(tiny, [f"{data}{more}}}", *sets])
        said.append(protocol_of(configuration, "test").to_plain()["truth"])
        if "root:" not in more:
            depths.append(open_frames(configuration).depth[0])
    assert said == [
        "laser (camera: along the camera's axis)",
        "laser (published: distance ahead of the laser, pixels shifted by -1)",
        "improved depth, else laser (camera: along the camera's axis)",
    ]
    assert not np.array_equal(*depths)
    plain = load_configuration(tiny, sets)
    assert "truth" not in protocol_of(plain, "test").to_plain()
