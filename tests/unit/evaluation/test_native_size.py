"""Depth and flow compared at each picture's own size, or at evaluation.size, against NumPy written from the definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from weightsearch.config import load_base, load_configuration
from weightsearch.data.dataset import open_dataset
from weightsearch.data.flow_files import read_flow
from weightsearch.evaluation.evaluate import evaluate
from weightsearch.evaluation.naive import naive_metrics
from weightsearch.evaluation.pictures import draw_pictures
from weightsearch.evaluation.predictions import Meaning, evaluate_predictions
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.runtime.device import choose_precision

CPU = torch.device("cpu")
SIZES = [(75, 248), (75, 248), (74, 245), (75, 248), (76, 249)]  # a fifth of KITTI's
GARG = (0.40810811, 0.99189189, 0.03594771, 0.96405229)


def bilinear(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h, w] at a size, pixels' centres at their places in the picture, edges continued."""
    found = values
    for axis, new in enumerate(size):
        old = found.shape[axis]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        share = np.expand_dims(place - low, 1 - axis)
        high = np.minimum(low + 1, old - 1)
        found = found.take(low, axis) * (1 - share) + found.take(high, axis) * share
    return found


class FromBrightness(nn.Module):
    """Depth of a shade: 1 m to 9 m by the green channel; flow by red and blue."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, image):
        flow = torch.stack([4 * image[:, 0] - 1, 3 * image[:, 2] - 2], dim=1)[:, None]
        return {"depth": 1 + 8 * image[:, 1:2] * self.weight, "flow": flow}


@pytest.fixture
def mixed(tiny: Path, tmp_path: Path):
    """A configuration of pictures of several sizes, all of them in the test split."""
    rng = np.random.default_rng(3)
    lines = []
    for number, size in enumerate(SIZES):
        coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BILINEAR).save(tmp_path / f"{number}.png")
        depth = rng.integers(256, 256 * 90, size).astype(np.uint16)
        depth[rng.uniform(size=size) < 0.7] = 0
        Image.fromarray(depth).save(tmp_path / f"{number}d.png")
        lines.append(f"{number}.png {number}d.png\n")
    (tmp_path / "test.txt").write_text("".join(lines))
    data = (
        f"data={{name: file_list, root: '{tmp_path}', test: test.txt, train: test.txt, validation: test.txt, "
        "size: [32, 96], min_depth: 0.1, max_depth: 80, depth_scale: 256, sparse: true}"
    )
    return load_configuration(
        tiny, [data, "loss.fractional.weight=1", "loss.consistency.weight=1", "evaluation=kitti_eigen"]
    )


def by_hand(predicted: list[np.ndarray], folder: Path) -> float:
    """abs_rel under KITTI's preset: each picture at its own size, Garg's crop of it, 1e-3 to 80 m."""
    rows = []
    for number, small in enumerate(predicted):
        true = np.asarray(Image.open(folder / f"{number}d.png")).astype(float) / 256
        height, width = true.shape
        depth = np.clip(bilinear(small, true.shape), 1e-3, 80)
        inside = np.zeros(true.shape, dtype=bool)
        inside[int(GARG[0] * height) : int(GARG[1] * height), int(GARG[2] * width) : int(GARG[3] * width)] = True
        counts = inside & (true > 1e-3) & (true < 80)
        rows.append(np.mean(np.abs(depth[counts] - true[counts]) / true[counts]))
    return float(np.mean(rows))


def measured(configuration, network: nn.Module) -> tuple[dict[str, float], list[np.ndarray]]:
    """The metrics on the test split, and the depth that the network predicts at its own size."""
    dataset = open_dataset(configuration)
    protocol = protocol_of(configuration, "test")
    metrics = evaluate(network, dataset, "test", protocol, choose_precision("off", CPU), 2)
    batch = dataset.to_batch(dataset.gather(dataset.splits["test"]), CPU)
    with torch.inference_mode():
        depth = network(batch.image)["depth"][:, 0].double().numpy()
    return metrics, list(depth)


def test_each_picture_of_a_mixed_list_is_measured_at_its_own_size(mixed, tmp_path):
    found, predicted = measured(mixed, FromBrightness())
    assert protocol_of(mixed, "test").to_plain()["size"] == "native"
    assert found["abs_rel"] == pytest.approx(by_hand(predicted, tmp_path), rel=1e-6)
    again, _ = measured(mixed, FromBrightness())  # from the truth that is kept
    assert again == found


def test_one_size_for_all_is_another_number(mixed, tmp_path):
    """By how much the preset was off while it brought all pictures to one size."""
    size = mixed.model_copy(update={"evaluation": mixed.evaluation.model_copy(update={"size": (75, 248)})})
    one, predicted = measured(size, FromBrightness())
    assert one["abs_rel"] != pytest.approx(by_hand(predicted, tmp_path), rel=1e-5)


def test_where_all_pictures_have_one_size_native_is_that_size(mixed, tmp_path):
    (tmp_path / "test.txt").write_text("0.png 0d.png\n1.png 1d.png\n3.png 3d.png\n")
    native, _ = measured(mixed, FromBrightness())
    size = mixed.model_copy(update={"evaluation": mixed.evaluation.model_copy(update={"size": (75, 248)})})
    assert native == measured(size, FromBrightness())[0]


def test_predictions_of_mixed_sizes_are_measured_at_the_truth_s(mixed, tmp_path):
    _, predicted = measured(mixed, FromBrightness())
    np.save(tmp_path / "small.npy", np.stack(predicted).astype(np.float32))
    found, protocol = evaluate_predictions(mixed, tmp_path / "small.npy", "test", Meaning(part="whole"))
    assert found["abs_rel"] == pytest.approx(by_hand(predicted, tmp_path), rel=1e-6)
    assert protocol.size == "native"
    (tmp_path / "maps").mkdir()
    for number, size in enumerate(SIZES):  # each of its picture's own size
        np.save(tmp_path / "maps" / f"{number}.npy", bilinear(predicted[number], size).astype(np.float32))
    found, _ = evaluate_predictions(mixed, tmp_path / "maps", "test", Meaning())
    assert found["abs_rel"] == pytest.approx(by_hand(predicted, tmp_path), rel=1e-6)


def test_naive_predictors_and_pictures_are_of_mixed_sizes_too(mixed, tmp_path):
    dataset, protocol = open_dataset(mixed), protocol_of(mixed, "test")
    found = naive_metrics(dataset, "test", protocol, 2)
    depth = dataset.frames.depth[dataset.splits["train"]].astype(float)
    middle = np.median([np.median(one[(one > 1e-3) & (one < 80)]) for one in depth])
    constant = [np.full((32, 96), middle)] * len(SIZES)
    assert found["constant_depth"]["abs_rel"] == pytest.approx(by_hand(constant, tmp_path), rel=1e-6)
    assert set(found) == {"constant_depth", "mean_depth"}
    drawn = draw_pictures(FromBrightness(), dataset, protocol, choose_precision("off", CPU), 5)
    assert [one.kind for one in drawn[:4]] == ["image", "truth", "depth", "error"]
    assert len(drawn) == 5 * 5  # and flow


@pytest.fixture
def pair(data_root: Path, tiny: Path, tmp_path: Path):
    """Middlebury's RubberWhale, 388 x 584, at half its size or so."""
    folder = data_root / "flow" / "rubberwhale"
    (tmp_path / "p.txt").write_text(f"{folder}/frame1.png {folder}/frame2.png {folder}/flow_gt.flo\n")
    lists = "train: p.txt, validation: p.txt, test: p.txt"
    data = f"data={{name: flow_pairs, root: '{tmp_path}', {lists}, size: [96, 160], neighbours: [1], min_depth: 1, max_depth: 9}}"
    sets = [data, "loss={photometric_flow: {weight: 1}}", "model={name: flow}", "search=null"]
    return folder / "flow_gt.flo", lambda *more: load_base(tiny, [*sets, *more])


def flow_by_hand(predicted: np.ndarray, true: np.ndarray) -> tuple[float, float, float]:
    """Mean endpoint error, percent of outliers, and the error of the pixels that stay in the picture. predicted: of the
    network's size, in its pixels, [2, h, w]; true: [H, W, 2]."""
    height, width = true.shape[:2]
    scale = width / predicted.shape[2], height / predicted.shape[1]
    u, v = (bilinear(one, (height, width)) * factor for one, factor in zip(predicted, scale, strict=True))
    error = np.hypot(u - true[..., 0], v - true[..., 1])
    known = np.isfinite(error)
    length = np.hypot(true[..., 0], true[..., 1])
    rows, columns = np.mgrid[:height, :width]
    x, y = columns + true[..., 0], rows + true[..., 1]
    stays = known & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    outlier = (error > 3) & (error > 0.05 * length)
    return float(error[known].mean()), float(100 * outlier[known].mean()), float(error[stays].mean())


@pytest.mark.parametrize("size", [None, "native", (388, 584), (194, 292)])
def test_flow_is_measured_at_the_size_of_the_evaluation(pair, size):
    path, configured = pair
    text = "null" if size is None else size if size == "native" else str(list(size))
    configuration = configured(f"evaluation.size={text}")
    dataset = open_dataset(configuration)
    protocol = protocol_of(configuration, "test")
    found = evaluate(FromBrightness(), dataset, "test", protocol, choose_precision("off", CPU), 2)
    true = read_flow(path).astype(float)
    height, width = {None: (96, 160), "native": (388, 584)}.get(size, size)
    rows = np.floor((np.arange(height) + 0.5) * 388 / height).astype(int)
    columns = np.floor((np.arange(width) + 0.5) * 584 / width).astype(int)
    true = true[rows][:, columns] * [width / 584, height / 388]
    batch = dataset.to_batch(dataset.gather(dataset.splits["test"]), CPU)
    with torch.inference_mode():
        predicted = FromBrightness()(batch.image)["flow"][0, 0].double().numpy()
    epe, f1, noc = flow_by_hand(predicted, true)
    assert (found["epe"], found["f1_all"], found["epe_noc"]) == pytest.approx((epe, f1, noc), rel=1e-4)
    again = evaluate(FromBrightness(), open_dataset(configuration), "test", protocol, choose_precision("off", CPU), 2)
    assert again == found


def test_zero_flow_is_measured_there_too(pair):
    """Its error is the true flow's mean length, in pixels of the files."""
    path, configured = pair
    configuration = configured("evaluation.size=native")
    found = naive_metrics(open_dataset(configuration), "test", protocol_of(configuration, "test"), 2)
    length = np.linalg.norm(read_flow(path).astype(float), axis=2)
    assert found["zero_flow"]["epe"] == pytest.approx(np.nanmean(length), rel=1e-6)


def test_pictures_that_the_preset_is_not_made_for_are_told(mixed, tmp_path):
    """A square picture under KITTI's preset, of a checkpoint and of predictions."""
    told: list[str] = []
    for number in range(len(SIZES)):
        for name in (f"{number}.png", f"{number}d.png"):
            Image.open(tmp_path / name).crop((0, 0, 74, 74)).save(tmp_path / name)
    np.save(tmp_path / "maps.npy", np.full((len(SIZES), 74, 74), 9.0))
    evaluate_predictions(mixed, tmp_path / "maps.npy", "test", Meaning(), note=told.append)
    assert len(told) == 2  # of the crop, and of what is no depth of this scene
    assert (
        "evaluation.crop garg is made for images of 1242x375 pixels (width x height); this data set has 74x74"
        in told[0]
    )
    assert open_dataset(mixed).sizes("test") == {(74, 74)}
