"""Pictures of what a network predicts, by their pixels."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests import video
from tests.conftest import TINY
from weightsearch.config import load_base
from weightsearch.data.dataset import open_dataset
from weightsearch.evaluation.motion_pictures import flow_picture, mask_picture
from weightsearch.evaluation.pictures import MAGMA, UNKNOWN, VIRIDIS, _of_depth, _spread_over, draw_pictures
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.runtime.device import Precision
from weightsearch.training.loop import Trainer

CPU = torch.device("cpu")
PLAIN = Precision(CPU, None, torch.amp.GradScaler("cpu", enabled=False))


class Constant(nn.Module):
    """A network that predicts one depth everywhere."""

    def __init__(self, metres: float) -> None:
        super().__init__()
        self.metres = metres

    def forward(self, image):
        return torch.full_like(image[:, :1], self.metres)


def configuration_of(folder: Path, *options: str):
    path = folder / "tiny.yaml"
    path.write_text(TINY)
    return load_base(path, ["data.size=[96, 128]", *options])


def drawn(folder: Path, metres: float, count: int = 2, **protocol) -> dict[tuple[int, str], np.ndarray]:
    configuration = configuration_of(folder)
    dataset = open_dataset(configuration)
    found = draw_pictures(
        Constant(metres), dataset, replace(protocol_of(configuration, "validation"), **protocol), PLAIN, count
    )
    assert len(found) == 4 * count
    frames = sorted({one.frame for one in found})
    assert all(0 <= frame < len(dataset.splits["validation"]) for frame in frames)
    return {(frames.index(one.frame), one.kind): np.asarray(Image.open(io.BytesIO(one.content))) for one in found}


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (0, 2, 4))


def test_near_is_bright_far_is_dark_and_the_error_is_relative(tmp_path):
    near, far = drawn(tmp_path, 0.3), drawn(tmp_path, 6.0)
    assert near[0, "depth"].shape == (96, 128, 3)
    assert near[0, "depth"].mean(axis=(0, 1)) == pytest.approx(rgb(VIRIDIS[-1]), abs=3)
    assert far[0, "depth"].mean(axis=(0, 1)) == pytest.approx(rgb(VIRIDIS[0]), abs=3)
    assert far[0, "error"].mean(axis=(0, 1)) == pytest.approx(rgb(MAGMA[-1]), abs=12)  # all beyond half the depth
    assert np.array_equal(near[0, "truth"], far[0, "truth"])  # the same colours whoever predicts
    assert not np.array_equal(near[0, "truth"], near[1, "truth"])


def test_few_frames_are_all_drawn_and_of_many_an_even_choice(tmp_path):
    dataset = open_dataset(configuration_of(tmp_path))
    split = len(dataset.splits["validation"])
    protocol = protocol_of(dataset.configuration, "validation")

    def places(count: int) -> list[int]:
        return sorted({one.frame for one in draw_pictures(Constant(2.0), dataset, protocol, PLAIN, count)})

    assert places(split) == places(split + 5) == list(range(split))
    assert places(1) == [round((split - 1) / 2)]
    for frames in range(40):
        for count in range(12):
            found = _spread_over(frames, count)
            assert len(found) == min(frames, count)
            assert all(0 <= place < frames for place in found)
            assert (np.diff(found) > 0).all()  # each frame once


def test_scaled_predictions_look_as_they_are_measured(tmp_path):
    true = torch.linspace(0.4, 5.5, 600).reshape(1, 1, 20, 30)
    protocol = replace(protocol_of(configuration_of(tmp_path), "validation"), median_scaling=True, size=(20, 30))
    shown = {}
    for factor in (1.0, 0.1, 5.0):
        drawn = _of_depth(true * factor, true, protocol)
        shown[factor] = np.asarray(drawn["depth"][0]).astype(int)
        assert np.asarray(drawn["error"][0]).mean(axis=(0, 1)) == pytest.approx(rgb(MAGMA[0]), abs=3)
    assert np.abs(shown[0.1] - shown[1.0]).max() <= 1
    assert np.abs(shown[5.0] - shown[1.0]).max() <= 1
    beyond = _of_depth(true * torch.where(true > 5, 3, 1), true, protocol)["error"][0]  # 15 m and more count as 6 m
    assert np.asarray(beyond)[:, :, 0].max() < rgb(MAGMA[5])[0]


def test_depth_is_drawn_without_truth_too(tmp_path):
    depth = torch.linspace(10, 90, 600).reshape(1, 1, 20, 30)
    protocol = replace(protocol_of(configuration_of(tmp_path), "validation"), size=(20, 30))
    drawn = _of_depth(depth, None, protocol)
    picture, low, high = drawn["depth"]
    assert list(drawn) == ["depth"]
    assert (low, high) == pytest.approx((11.6, 88.4), abs=0.1)
    assert np.asarray(picture)[0, 0] == pytest.approx(rgb(VIRIDIS[-1]), abs=2)
    assert np.asarray(picture)[-1, -1] == pytest.approx(rgb(VIRIDIS[0]), abs=2)


def test_pixels_that_do_not_count_are_grey(tmp_path):
    cropped = drawn(tmp_path, 2.0, crop="eigen")
    top = cropped[0, "error"][: int(0.33 * 96) - 8]
    assert top.mean(axis=(0, 1)) == pytest.approx(UNKNOWN, abs=2)


def test_a_network_that_is_right_has_no_error(tmp_path):
    configuration = configuration_of(tmp_path)
    dataset = open_dataset(configuration)
    frames = dataset.frames

    class Right(nn.Module):
        def forward(self, image):
            colours = (image[0].permute(1, 2, 0) * 255).round().byte().numpy()
            index = next(place for place, one in enumerate(frames.image) if np.array_equal(one, colours))
            return torch.from_numpy(np.array(frames.depth[index]))[None, None]

    found = draw_pictures(Right(), dataset, protocol_of(configuration, "validation"), PLAIN, 2)
    for picture in (np.asarray(Image.open(io.BytesIO(one.content))) for one in found if one.kind == "error"):
        away = [np.abs(picture - np.array(colour)).max(axis=-1) for colour in (rgb(MAGMA[0]), UNKNOWN)]
        assert (away[0] < 10).mean() > 0.3
        assert (np.minimum(*away) < 40).mean() > 0.95  # but for the edges between the two


def test_large_pictures_are_made_small_and_sparse_truth_can_be_seen(tmp_path, data_root):
    path = tmp_path / "kitti.yaml"
    path.write_text(
        TINY.replace(
            "data: {name: procedural, size: [32, 48], min_depth: 0.3, max_depth: 6.0, scenes: 2, frames: 16, split: {gap: 1}}",
            f"data: {{name: kitti_raw, root: {data_root}/kitti_raw, size: [375, 1242], min_depth: 1, max_depth: 80, stride: 3}}",
        )
    )
    configuration = load_base(path)
    dataset = open_dataset(configuration)
    found = draw_pictures(Constant(15.0), dataset, protocol_of(configuration, "validation"), PLAIN, 1)
    named = {one.kind: one for one in found}
    truth = np.asarray(Image.open(io.BytesIO(named["truth"].content))).astype(int)
    assert truth.shape == (97, 320, 3)
    coloured = np.abs(truth - np.array(UNKNOWN)).max(axis=-1) > 30
    assert 0.12 < coloured.mean() < 0.7  # the laser's points are 3.5 % of the pixels
    assert str(data_root) not in named["truth"].name
    assert named["depth"].low < 15 < named["depth"].high
    assert sum(len(one.content) for one in found) < 60_000


def test_no_frames_wanted_means_no_pictures_and_drawing_leaves_the_trainer_alone(tmp_path):
    configuration = configuration_of(tmp_path, "train.early_stopping={patience: 9}", "train.epochs=2")
    trainer = Trainer(configuration, open_dataset(configuration), CPU)
    trainer.train_epoch()
    trainer.train_epoch()
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    random_state = torch.get_rng_state()
    assert trainer.network.training
    pictures = trainer.pictures()
    assert {one.kind for one in pictures} == {"image", "truth", "depth", "error"}
    assert all(torch.equal(before[name], value) for name, value in trainer.network.state_dict().items())
    assert trainer.network.training
    assert torch.equal(random_state, torch.get_rng_state())
    nothing = configuration_of(tmp_path, "analysis.pictures=0")
    assert Trainer(nothing, open_dataset(nothing), CPU).pictures() == []


def test_flow_is_white_where_nothing_moves_and_has_a_hue_for_each_direction():
    flow = np.zeros((2, 1, 6), dtype=np.float32)
    flow[:, 0] = [[3, 0, -3, 0, 0, np.nan], [0, 3, 0, -3, 0, 0]]
    right, down, left, up, still, unknown = np.asarray(flow_picture(flow, 3.0))[0].astype(int)
    assert right.tolist() == [255, 0, 0]
    assert left.tolist() == pytest.approx([0, 255, 255], abs=6)
    assert down[1] > 200 > down[0] > down[2] < 60  # yellow-green
    assert up[2] > 200 > up[0] > 60 > up[1]  # violet
    assert still.tolist() == [255, 255, 255]
    assert unknown.tolist() == [128, 128, 128]
    half = np.asarray(flow_picture(flow / 2, 3.0))[0, 0].astype(int)
    assert half.tolist() == pytest.approx([255, 128, 128], abs=2)


def test_what_is_left_out_is_vermilion_on_grey():
    image = Image.fromarray(np.full((4, 8, 3), [10, 200, 30], dtype=np.uint8))
    kept = np.array([[True, False]])
    found = np.asarray(mask_picture(image, kept)).astype(int)
    assert (found[:, :4] == found[0, 0, 0]).all()
    assert (found[:, 4:, 0] > found[:, 4:, 2] + 100).all()


def test_cotraining_shows_flow_and_what_is_left_out(tmp_path):
    data = video.dataset(tmp_path, "rebalance={method: oracle}")
    trainer = Trainer(data.configuration, data, CPU)
    found = trainer.pictures()
    kinds = ["image", "truth", "depth", "error", "true flow", "flow", "left out"]
    assert [one.kind for one in found[:7]] == kinds
    frame = int(data.splits["validation"][found[0].frame])
    share = float(data.frames.moving[frame].mean())
    assert next(one.high for one in found if one.kind == "left out") == pytest.approx(share, abs=1e-6)
    assert all(Image.open(io.BytesIO(one.content)).size == (64, 48) for one in found)
