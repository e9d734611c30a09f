"""Predictions in the conventions of other programs: a wrong unit gives a warning with its remedy, a right unit gives none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

from tests.helpers.saved_predictions import saved
from tests.helpers.trainings import CPU, configuration
from weightsearch.config import Configuration
from weightsearch.data.dataset import open_dataset
from weightsearch.data.sources.kitti_raw import KittiRaw
from weightsearch.errors import DataError
from weightsearch.evaluation.predictions import Meaning, evaluate_predictions
from weightsearch.training.run import train

SIZES = {"kitti_demo": (94, 311), "nyu_demo": (120, 160)}
LIMITS = {"kitti_demo": (1.0, 80.0), "nyu_demo": (0.1, 10.0)}
SCALES = {"kitti_demo": 256, "nyu_demo": 1000}


class Pairs:
    """Real pairs, and predictions of them that are off by 15 %: dense, metres, one a frame."""

    def __init__(self, tiny: Path, data_root: Path, folder: str) -> None:
        self.tiny, self.folder, self.root = tiny, folder, data_root / "pairs" / folder
        rng = np.random.default_rng(0)
        self.depth, lines = [], []
        pictures, depths = (sorted((self.root / part).iterdir()) for part in ("rgb", "depth"))
        for picture, depth in zip(pictures, depths, strict=True):
            lines.append(f"rgb/{picture.name} depth/{depth.name}\n")
            metres = np.asarray(Image.open(depth)).astype(np.float32)[::4, ::4] / SCALES[folder]
            where = distance_transform_edt(metres == 0, return_distances=False, return_indices=True)
            full = metres[tuple(where)] * np.exp(rng.normal(0, 0.15, metres.shape))
            self.depth.append(full.astype(np.float32))
        self.names = [picture.stem for picture in pictures]
        self.list = tiny.parent / "test.txt"
        self.list.write_text("".join(lines))

    def configuration(self, *sets: str, scale: float | None = None) -> Configuration:
        low, high = LIMITS[self.folder]
        data = (
            f"data={{name: file_list, root: '{self.root}', test: '{self.list}', size: {list(SIZES[self.folder])}, "
            f"min_depth: {low}, max_depth: {high}, depth_scale: {scale or SCALES[self.folder]}}}"
        )
        return configuration(self.tiny, data, *sets)

    def array(self, factor: float = 1.0, power: int = 1) -> Path:
        path = self.tiny.parent / "predictions.npy"
        np.save(path, np.stack([(factor * one**power).astype(np.float32) for one in self.depth]))
        return path

    def images(self, scale: float) -> Path:
        path = self.tiny.parent / "predictions"
        path.mkdir()
        for name, one in zip(self.names, self.depth, strict=True):
            Image.fromarray(np.rint(one * scale).astype(np.uint16)).save(path / f"{name}.png")
        return path


@pytest.fixture(params=["kitti_demo", "nyu_demo"])
def pairs(request, tiny, data_root) -> Pairs:
    return Pairs(tiny, data_root, request.param)


@pytest.fixture
def kitti(tiny, data_root) -> Pairs:
    return Pairs(tiny, data_root, "kitti_demo")


def measured(found: Configuration, path: Path, **meaning) -> tuple[float, list[str]]:
    told: list[str] = []
    metrics, _ = evaluate_predictions(found, path, "test", Meaning(**meaning), note=told.append)
    return metrics["abs_rel"], [
        line.removeprefix("warning: ").removeprefix(f"{path}: ") for line in told if line.startswith("warning: ")
    ]


def test_integers_are_in_the_data_set_s_own_unit(pairs):
    """abs_rel was .741 for KITTI's images, without a word."""
    found = pairs.configuration()
    images = pairs.images(SCALES[pairs.folder])
    told: list[str] = []
    metrics, _ = evaluate_predictions(found, images, "test", Meaning(), note=told.append)
    assert metrics["abs_rel"] == pytest.approx(0.12, abs=0.01)
    assert told == [line for line in told if f"are read as {SCALES[pairs.folder]} units per metre" in line]
    assert measured(found, images, scale=SCALES[pairs.folder]) == (metrics["abs_rel"], [])
    floats, lines = measured(found, pairs.array())
    assert floats == pytest.approx(metrics["abs_rel"], abs=2e-3)
    assert lines == []


@pytest.mark.parametrize(("stored", "read"), [(256, 1000), (1000, 256), (5000, 1000), (1000, 5000), (4000, 1000)])
def test_integers_that_cannot_be_in_the_unit_are_an_error_with_the_right_one(pairs, stored, read):
    """KITTI's images at 1000 a metre had an abs_rel of 2.56 instead of .131, with a warning only."""
    if 80 * stored > 65535 and pairs.folder == "kitti_demo" and stored > 1000:
        stored, read = 100, 256  # 16 bits hold no street at 5000 a metre
    path = pairs.images(stored)
    with pytest.raises(DataError) as caught:
        measured(pairs.configuration(), path, scale=read)
    line = str(caught.value).removeprefix(f"{path}: ")
    wrong, _ = measured(pairs.configuration("analysis.check_units=false"), path, scale=read)
    right, nothing = measured(pairs.configuration(), pairs.tiny.parent / "predictions", scale=stored)
    assert nothing == []
    ratio = float(re.match(r"the median prediction is (\S+) times the median ground truth", line)[1])
    assert ratio == pytest.approx(stored / read, rel=0.05)
    assert f"they look like {stored} units per metre" in line
    then = float(re.search(rf"pass --scale {stored} \(abs_rel of a sample of pixels (\S+) instead of", line)[1])
    assert then == pytest.approx(right, abs=0.02)
    assert wrong > 3 * right


@pytest.mark.parametrize(("factor", "name"), [(1000, "millimetres"), (100, "centimetres")])
def test_floats_that_cannot_be_metres_are_an_error(pairs, factor, name):
    """Both clamped to the same abs_rel, without a word."""
    path = pairs.array(factor)
    with pytest.raises(
        DataError, match=rf"predictions.npy: the median prediction is [\d.]+ times .* they look like {name}"
    ):
        measured(pairs.configuration(), path)
    with pytest.raises(DataError, match=rf"pass --scale {factor} \(abs_rel of a sample of pixels 0.12\d* instead of"):
        measured(pairs.configuration(), path)
    assert measured(pairs.configuration(), path, scale=factor)[0] == pytest.approx(0.12, abs=0.01)
    found, lines = measured(pairs.configuration("analysis.check_units=false"), path)
    assert found > 1
    assert lines == []


def test_shares_of_the_range_are_told(pairs):
    high = LIMITS[pairs.folder][1]
    with pytest.raises(DataError, match=rf"look like shares of max_depth, 0 to 1: pass --scale {1 / high:g} "):
        measured(pairs.configuration(), pairs.array(0.9 / high))
    assert measured(pairs.configuration(), pairs.array(1 / high), scale=1 / high)[0] == pytest.approx(0.12, abs=0.01)


@pytest.mark.parametrize("scaled", ["false", "true"])
def test_disparity_is_an_error_and_so_is_depth_that_is_called_inverse(pairs, scaled):
    found = pairs.configuration(f"evaluation.median_scaling={scaled}")
    with pytest.raises(
        DataError, match=r"rise.* \(rank correlation -0.\d+\): they look like 1/depth or disparity: pass"
    ):
        measured(found, pairs.array(power=-1))
    right, lines = measured(found, pairs.array(power=-1), inverse=True)
    assert right == pytest.approx(0.12, abs=0.02)
    assert lines == []
    with pytest.raises(DataError, match=r"they look like depth, not 1/depth: leave out --inverse"):
        measured(found, pairs.array(), inverse=True)


def test_predictions_without_a_scale_are_told_to_be_scaled_and_then_right(pairs):
    """Disparity of a network that learned from video alone, in a unit of its own."""
    path = pairs.array(37.0, -1)
    with pytest.raises(DataError, match="Predictions without a scale need --set evaluation.median_scaling=true"):
        measured(pairs.configuration(), path, inverse=True)
    found, nothing = measured(pairs.configuration("evaluation.median_scaling=true"), path, inverse=True)
    assert found == pytest.approx(0.12, abs=0.02)
    assert nothing == []


def test_ground_truth_in_another_unit_is_an_error_and_not_the_predictions_s(kitti):
    """Metres contradict it; integers may be in the same wrong unit, or right, so that a warning is all there is."""
    found = kitti.configuration(scale=1000)
    wrong = r"data: 99.5 % of the known depth is below .*set data.depth_scale: 256"
    with pytest.raises(DataError, match=f"^{wrong}"):
        measured(found, kitti.array())
    for path in (kitti.images(256), kitti.array(256 / 1000)):  # metres that agree with it: it may be right
        _, lines = measured(found, path)
        assert re.search(wrong, lines[0])


@pytest.mark.parametrize("factor", [0.5, 0.6, 1.8, 3.0])
def test_depth_without_a_scale_is_told_in_one_line(pairs, factor):
    """Half of the depth had an abs_rel of .49 and an a1 of .0009, without a word."""
    _, lines = measured(pairs.configuration(), pairs.array(factor))
    (line,) = lines
    ratio = float(re.match(r"the median prediction is (\S+) of the ground truth's; relative depth\? --set", line)[1])
    assert ratio == pytest.approx(factor, rel=0.05)
    assert "--set evaluation.median_scaling=true" in line
    found, nothing = measured(pairs.configuration("evaluation.median_scaling=true"), pairs.array(factor))
    assert found == pytest.approx(0.12, abs=0.02)
    assert nothing == []


@pytest.mark.parametrize("factor", [0.4, 0.5, 2.0, 4.5])
def test_bad_depth_of_a_wrong_scale_is_neither_relative_depth_nor_an_error(pairs, factor):
    """A constant, and depth with little of the truth's shape."""
    rng = np.random.default_rng(1)
    medians = [float(np.median(one)) for one in pairs.depth]
    for number, one in enumerate(pairs.depth):
        pairs.depth[number] = np.full_like(one, medians[number])
    lines = measured(pairs.configuration(), pairs.array(factor))[1]
    assert not any("relative depth" in line for line in lines)
    for number, one in enumerate(pairs.depth):
        pairs.depth[number] = (medians[number] * np.exp(rng.normal(0, 0.8, one.shape))).astype(np.float32)
    lines = measured(pairs.configuration(), pairs.array(factor))[1]
    assert not any("relative depth" in line for line in lines)


def test_kitti_s_own_reader_takes_kitti_s_images(tiny, tmp_path, data_root):
    """The laser's depth is no image, but predictions for it are stored as KITTI stores depth."""
    data = f"data={{name: kitti_raw, root: '{data_root}/kitti_raw', stride: 13, size: [96, 320], min_depth: 1, "
    found = configuration(tiny, data + "max_depth: 80}", "data.split.gap=0", "evaluation=kitti_eigen")
    source = KittiRaw(root=data_root / "kitti_raw", stride=13)
    (index,) = open_dataset(found).splits["test"]
    frame = source.read(0, int(index))
    (tmp_path / "images").mkdir()
    depth = np.where(frame.depth > 0, 1.1 * frame.depth, 10)
    name = Path(frame.name).with_suffix(".png").name
    Image.fromarray(np.rint(256 * depth).astype(np.uint16)).save(tmp_path / "images" / name)
    assert measured(found, tmp_path / "images") == (pytest.approx(0.1, abs=2e-3), [])


def test_pixels_without_a_prediction_are_told(pairs):
    for one in pairs.depth:
        one[: len(one) * 3 // 4] = 0
    _, lines = measured(pairs.configuration(), pairs.images(SCALES[pairs.folder]))
    assert "of the counted pixels have no prediction (0, or the largest value of an integer type)" in lines[0]
    for file in (pairs.tiny.parent / "predictions").iterdir():
        values = np.asarray(Image.open(file))
        Image.fromarray(np.where(values == 0, 65535, values).astype(np.uint16)).save(file)
    assert measured(pairs.configuration(), pairs.tiny.parent / "predictions")[1] == lines


def test_a_trained_network_s_predictions_are_not_doubted(tiny, tmp_path, data_root):
    """On real frames after little training, where they are bad but in the right unit."""
    data = (
        f"data={{name: seven_scenes, root: '{data_root}/7scenes/redkitchen', stride: 12, size: [32, 48], "
        "min_depth: 0.3, max_depth: 6.0}"
    )
    found = configuration(tiny, data)
    np.save(tmp_path / "all.npy", saved(found, tmp_path / "out"))
    assert measured(found, tmp_path / "all.npy")[1] == []
    scaled = configuration(tiny, data, "evaluation.median_scaling=true")
    np.save(tmp_path / "all.npy", 0.03 * np.load(tmp_path / "all.npy"))  # as without a scale
    assert measured(scaled, tmp_path / "all.npy")[1] == []
    told: list[str] = []
    train(found, tmp_path / "out", CPU, on_warning=told.append)
    assert told == []


@pytest.mark.parametrize("depth", [0.6, 1.5, 3.0, 5.0])
def test_predictions_that_are_only_bad_are_not_doubted(tiny, tmp_path, depth):
    found = configuration(tiny)
    count = len(open_dataset(found).splits["test"])
    np.save(tmp_path / "constant.npy", np.full((count, 8, 12), 0.5 * depth + 1))
    assert measured(found, tmp_path / "constant.npy")[1] == []
    noise = np.random.default_rng(0).uniform(0.8, 1.25, (count, 32, 48))
    np.save(tmp_path / "noise.npy", (0.5 * depth + 1) * noise)
    assert measured(found, tmp_path / "noise.npy")[1] == []
