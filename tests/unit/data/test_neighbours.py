"""Frames with those beside them: which frames have them, what a batch holds, which data sets can."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.video import CPU, batch_of, configuration, dataset
from weightsearch.config.schema import Augmentation, Split
from weightsearch.data.augmentation import augment
from weightsearch.data.dataset import open_dataset, relative_poses
from weightsearch.data.flow_files import write_flo
from weightsearch.data.source import Video
from weightsearch.data.sources.file_list import FileList
from weightsearch.data.sources.flow_pairs import FlowPairs
from weightsearch.data.sources.kitti_raw import KittiRaw
from weightsearch.data.sources.seven_scenes import SevenScenes, zoomed
from weightsearch.data.split import cut, with_neighbours
from weightsearch.errors import ConfigError, DataError, OptionError
from weightsearch.geometry.camera import rigid_flow
from weightsearch.geometry.warp import inside, warp


@pytest.mark.parametrize("offsets", [(-1, 1), (1,), (-3, 2), (-2,)])
def test_a_frame_whose_neighbour_is_in_no_split_of_its_own_is_left_out(offsets):
    videos = [Video("a", 40), Video("b", 60), Video("c", 10, "train")]
    splits = cut(videos, Split(train=0.6, validation=0.2, test=0.2, gap=1))
    found = with_neighbours(splits, videos, offsets)
    owner = [0] * 40 + [1] * 60 + [2] * 10
    for name, indices in splits.items():
        expected = [
            index
            for index in indices
            if all(index + o in indices and owner[min(index + o, 109)] == owner[index] for o in offsets)
        ]
        assert found[name] == expected
        assert 0 < len(expected) < len(indices)
    assert with_neighbours(splits, videos, ()) == splits


def test_a_split_without_any_such_frame_is_an_error():
    videos = [Video("a", 10)]
    with pytest.raises(DataError, match="no frame of the split train has neighbours at -4, 4 frames in it"):
        with_neighbours(cut(videos, Split(gap=0)), videos, (-4, 4))


def test_frames_in_no_order_have_no_neighbours():
    videos = [Video("list.txt", 10, ordered=False)]
    with pytest.raises(DataError, match=r"data\.neighbours: the frames of list\.txt do not follow one another"):
        with_neighbours(cut(videos, Split(gap=0)), videos, (1,))


@pytest.mark.parametrize("offsets", ["[0]", "[1, 1]", "[-1, 0, 1]"])
def test_a_frame_is_not_its_own_neighbour_and_none_stands_twice(tmp_path, offsets):
    with pytest.raises(ConfigError, match="offsets must be non-zero and unique"):
        configuration(tmp_path, f"data.neighbours={offsets}")


def test_a_batch_has_the_frames_beside_and_what_is_known_of_motion(tmp_path):
    data = dataset(tmp_path, "data.neighbours=[-2, 1]", "data.frames=16")
    chosen = [3, 18]
    batch = batch_of(data, chosen)
    frames = data.frames
    for row, index in enumerate(chosen):
        for column, offset in enumerate((-2, 1)):
            expected = torch.from_numpy(frames.image[index + offset] / 255).permute(2, 0, 1).float()
            torch.testing.assert_close(batch.neighbours.image[row, column], expected)
            pose = np.linalg.inv(frames.pose[index + offset]) @ frames.pose[index]
            np.testing.assert_allclose(batch.neighbours.pose[row, column], pose, atol=1e-6)
            np.testing.assert_array_equal(batch.motion.flow[row, column].permute(1, 2, 0), frames.flow[index, column])
        np.testing.assert_array_equal(batch.motion.moving[row, 0], frames.moving[index])
    assert batch.neighbours.offsets == (-2, 1)
    assert data.places(np.array(chosen)) == [(0, 3), (1, 2)]


def test_without_neighbours_nothing_of_the_kind_is_kept(tmp_path):
    data = dataset(
        tmp_path, "data.neighbours=[]", "rebalance=null", "model={name: encoder_decoder}", "loss={mae: {weight: 1}}"
    )
    assert data.frames.flow is None
    assert data.frames.moving is None
    batch = batch_of(data)
    assert batch.neighbours is None
    assert (batch.motion.flow, batch.motion.moving) == (None, None)


def test_relative_poses_far_from_the_origin_keep_their_millimetres():
    pose = np.tile(np.eye(4), (2, 1, 1))
    pose[:, :3, 3] = [[4e6, 3e6, 2e6], [4e6 + 0.25, 3e6, 2e6 + 0.001]]
    found = relative_poses(pose[:1], pose[None, 1:])
    np.testing.assert_allclose(found[0, 0, :3, 3], [-0.25, 0, -0.001], atol=1e-8)
    pose[1, 0, 0] = np.nan
    assert np.isnan(relative_poses(pose[:1], pose[None, 1:])).all()


CHANGES = {
    "mirror": Augmentation(mirror=1.0),
    "rotation": Augmentation(rotation=20.0),
    "crop": Augmentation(crop=(32, 40)),
    "all": Augmentation(mirror=0.5, rotation=15.0, crop=(40, 48)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_pictures_keep_their_geometry(tmp_path, change):
    """Flow from depth and pose of the changed camera is the changed flow, and warping by it still shows the frame."""
    data = dataset(tmp_path, "data.moving=0", "data.variety=indoor", "data.min_depth=0.3")
    plain = batch_of(data)
    batch = augment(plain, CHANGES[change], np.random.SeedSequence(3))
    for number in range(2):
        flow, far = rigid_flow(batch.depth, batch.neighbours.pose[:, number], batch.intrinsics)
        true = batch.motion.flow[:, number]
        known = (batch.depth > 0) & true.isfinite().all(dim=1, keepdim=True) & (far > 0.1)
        assert float(known.float().mean()) > 0.6
        assert float((flow - true.nan_to_num()).norm(dim=1, keepdim=True)[known].quantile(0.99)) < 0.05
        seen = known & inside(flow)
        made = (warp(batch.neighbours.image[:, number], flow) - batch.image).abs().mean(1, keepdim=True)
        unmoved = (batch.neighbours.image[:, number] - batch.image).abs().mean(1, keepdim=True)
        assert float(made[seen].mean()) < 0.6 * float(unmoved[seen].mean())


def test_a_frame_and_its_neighbours_get_the_same_colours(tmp_path):
    data = dataset(tmp_path)
    plain = batch_of(data)
    same = replace(plain, neighbours=replace(plain.neighbours, image=plain.image[:, None].expand(-1, 2, -1, -1, -1)))
    options = Augmentation(
        brightness=0.3, contrast=0.3, saturation=0.3, gamma=0.2, hue=0.1, permute_channels=0.5, rotation=10
    )
    changed = augment(same, options, np.random.SeedSequence(1))
    assert float((changed.image - plain.image).abs().mean()) > 0.02
    torch.testing.assert_close(changed.neighbours.image, changed.image[:, None].expand(-1, 2, -1, -1, -1))


def test_what_moves_moves_with_the_picture(tmp_path):
    plain = batch_of(dataset(tmp_path, "data.moving=16"))
    mirrored = augment(plain, Augmentation(mirror=1.0), np.random.SeedSequence(0))
    assert torch.equal(mirrored.motion.moving, plain.motion.moving.flip(-1))
    sign = torch.tensor([-1.0, 1.0]).view(1, 1, 2, 1, 1)
    torch.testing.assert_close(mirrored.motion.flow, sign * plain.motion.flow.flip(-1), equal_nan=True)


def test_kitti_drives_are_whole(tmp_path, data_root):
    whole = shutil.copytree(data_root / "kitti_raw", tmp_path / "kitti_raw")
    scans = sorted(whole.glob("*/*/velodyne_points/data/*.bin"))
    scans[3].unlink()
    assert KittiRaw(root=whole).videos()[0].length == 77
    source = KittiRaw(root=whole, neighbours=(-1, 1))
    assert source.videos()[0].length == 78
    assert (source.read(0, 3).depth == 0).all()
    assert (source.read(0, 4).depth > 0).mean() > 0.02
    assert len(source.files()) == 78 + 77 + 2


def pictures(root: Path, names: list[str], source: Path) -> None:
    found = sorted(source.glob("*.jpg")) or sorted(source.glob("*.png"))
    for position, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found[position % len(found)], root / name)


def test_a_list_of_pictures_with_intrinsics_is_a_video_a_folder(tmp_path, data_root):
    names = [f"{scene}/{number}.png" for scene in ("a", "b") for number in range(4)]
    pictures(tmp_path, names, data_root / "pairs" / "nyu_demo" / "rgb")
    (tmp_path / "train.txt").write_text("\n".join([names[0] + " None", *names[1:]]) + "\n")
    (tmp_path / "K.txt").write_text("518.9 0 325.6\n0 519.5 253.7\n0 0 1\n")
    source = FileList(root=tmp_path, train="train.txt", intrinsics="K.txt", neighbours=(-1, 1))
    assert [(Path(video.name).name, video.length, video.split) for video in source.videos()] == [
        ("a", 4, "train"),
        ("b", 4, "train"),
    ]
    frame = source.read(1, 2)
    np.testing.assert_allclose(frame.intrinsics, [[518.9, 0, 325.6], [0, 519.5, 253.7], [0, 0, 1]])
    assert (frame.depth == 0).all()
    assert tmp_path / "K.txt" in source.files()
    for other in ("0.81 0 0.51\n0 1.08 0.53\n0 0 1\n", "1037.8 0 651.2\n0 1039 507.4\n0 0 1\n"):
        (tmp_path / "K.txt").write_text(other)  # in shares of the picture, and of one twice as large
        elsewhere = FileList(root=tmp_path, train="train.txt", intrinsics="K.txt", neighbours=(-1, 1))
        with pytest.raises(DataError, match=r"K\.txt: focal lengths .* are not those of images of 640x480 pixels"):
            elsewhere.read(0, 0)
    (tmp_path / "K.txt").write_text("518.9 0\n0 519.5\n")
    with pytest.raises(DataError, match=r"K\.txt: expected intrinsics in pixels, three rows"):
        FileList(root=tmp_path, train="train.txt", intrinsics="K.txt", neighbours=(-1, 1))


@pytest.fixture
def pairs(tmp_path, data_root):
    for name in ("frame1.png", "frame2.png", "flow_gt.flo"):
        shutil.copy(data_root / "flow" / "rubberwhale" / name, tmp_path / name)
    (tmp_path / "pairs.txt").write_text("frame1.png frame2.png flow_gt.flo\n")
    return tmp_path


def test_flow_pairs_are_videos_of_two_frames(pairs):
    source = FlowPairs(root=pairs, train="pairs.txt", validation="pairs.txt", neighbours=(1,))
    assert [(video.length, video.split) for video in source.videos()] == [(2, "train"), (2, "validation")]
    flow = source.flow(0, 0, 1)
    assert flow.shape == (388, 584, 2)
    lengths = np.hypot(flow[..., 0], flow[..., 1])
    assert np.nanmean(lengths) == pytest.approx(1.26, abs=0.1)
    assert np.isnan(flow).mean() < 0.05


def test_flow_pairs_at_another_size_have_flow_in_its_pixels(pairs, tmp_path):
    (tmp_path / "flow.yaml").write_text(
        f"name: flow\nseed: 0\ndata: {{name: flow_pairs, root: {pairs}, train: pairs.txt, validation: pairs.txt, "
        "size: [97, 292], min_depth: 1, max_depth: 2, neighbours: [1]}\nmodel: {name: flow}\n"
        "loss: {photometric_flow: {weight: 1}}\ntrain: {epochs: 1, lr: 1.0e-4}\n"
    )
    from weightsearch.config import load_configuration

    data = open_dataset(load_configuration(tmp_path / "flow.yaml"))
    assert {name: len(found) for name, found in data.splits.items()} == {"train": 1, "validation": 1, "test": 0}
    whole = FlowPairs(root=pairs, train="pairs.txt", neighbours=(1,)).flow(0, 0, 1)
    small = batch_of(data).motion.flow[0, 0]
    expected = np.nanmean(whole, axis=(0, 1)) * [292 / 584, 97 / 388]
    found = [float(part[part.isfinite()].mean()) for part in small]
    np.testing.assert_allclose(found, expected, atol=0.02)
    batch = data.to_batch(data.gather(data.splits["train"]), CPU)
    assert not batch.intrinsics[0, 0, 0].isfinite()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png b.png\n", r"pairs\.txt:1: expected 'first second flow' \(or None\), found 'a.png b.png'"),
        ("\n\n", r"pairs\.txt: the list is empty"),
    ],
)
def test_a_list_of_pairs_that_cannot_be_read(tmp_path, text, message):
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        FlowPairs(root=tmp_path, train="pairs.txt", neighbours=(1,))


def test_flow_pairs_go_from_the_first_to_the_second_picture(pairs):
    for neighbours in ((), (-1,), (1, 2)):
        with pytest.raises(OptionError, match=r"must be \[1\]"):
            FlowPairs(root=pairs, train="pairs.txt", neighbours=neighbours)


def test_flow_of_another_size_than_its_picture_is_an_error(pairs):
    write_flo(pairs / "flow_gt.flo", np.zeros((100, 584, 2), dtype=np.float32))
    path = pairs / "flow.yaml"
    path.write_text(
        f"name: flow\ndata: {{name: flow_pairs, root: {pairs}, train: pairs.txt, size: [97, 292], min_depth: 1, "
        "max_depth: 2, neighbours: [1]}\nmodel: {name: flow}\nloss: {photometric_flow: {weight: 1}}\n"
        "train: {epochs: 1, lr: 1.0e-4}\n"
    )
    from weightsearch.config import load_configuration

    with pytest.raises(
        DataError, match=r"frame1\.png: its flow has the shape \[100, 584, 2\], expected \[388, 584, 2\]"
    ):
        open_dataset(load_configuration(path))


def test_depth_of_a_longer_lens_is_brought_into_the_picture():
    depth = np.arange(1, 101, dtype=np.float32).reshape(10, 10)
    assert zoomed(depth, 1.0) is depth
    closer = zoomed(depth, 0.5)
    np.testing.assert_array_equal(closer[5], depth[5, [2, 3, 4, 4, 4, 5, 6, 6, 6, 7]])
    wider = zoomed(depth, 2.0)
    assert (wider[0] == 0).all()
    assert wider[5, 4] == depth[5, 3]


def test_seven_scenes_has_the_cameras_that_are_asked_for(data_root):
    scene = data_root / "7scenes" / "redkitchen"
    frame = SevenScenes(root=scene, focal=525.0, depth_focal=585.0, stride=50).read(0, 1)
    plain = SevenScenes(root=scene, stride=50).read(0, 1)
    np.testing.assert_allclose(frame.intrinsics, [[525, 0, 320], [0, 525, 240], [0, 0, 1]])
    assert frame.depth[240, 320] == plain.depth[240, 320]
    assert (frame.depth[:, :30] == 0).all()  # the depth camera looks less far to the sides
    share = (frame.depth > 0).mean() / (plain.depth > 0).mean()
    assert share == pytest.approx((525 / 585) ** 2, abs=0.06)
