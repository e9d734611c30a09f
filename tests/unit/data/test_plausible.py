"""Depth in the conventions of public data sets, read rightly and wrongly. The right unit must never be doubted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.trainings import CPU, configuration
from weightsearch.data.check import check_data
from weightsearch.data.dataset import open_dataset
from weightsearch.data.plausible import SAMPLED, dataset_doubts, sample_of
from weightsearch.data.source import Frame, Video
from weightsearch.errors import DataError
from weightsearch.evaluation.evaluate import evaluate_checkpoint
from weightsearch.training.run import train

ROOM = (0.1, 10.0)
STREET = (1.0, 80.0)


def metres(data_root: Path, folder: str, scale: float) -> list[np.ndarray]:
    files = sorted((data_root / "pairs" / folder / "depth").iterdir())
    return [np.asarray(Image.open(file)).astype(float)[::4, ::4] / scale for file in files]


def kinect(data_root: Path) -> list[np.ndarray]:
    """The depth of 7-Scenes, metres; TUM's are of the same camera."""
    folder = data_root / "7scenes" / "redkitchen" / "seq-01"
    raw = [np.asarray(Image.open(folder / f"frame-{number:06d}.depth.png")) for number in range(0, 1000, 100)]
    return [np.where(one == 65535, 0, one).astype(float)[::4, ::4] / 1000 for one in raw]


def data_set(tiny: Path, root: Path, depths: list[np.ndarray], limits: tuple[float, float], *sets: str, options=""):
    """A list of frames with these depths as they are stored."""
    root.mkdir()
    lines = []
    for number, stored in enumerate(depths):
        height, width = stored.shape
        Image.fromarray(np.full((height, width, 3), number, np.uint8)).save(root / f"{number}.png")
        if stored.dtype == np.uint16:
            Image.fromarray(stored).save(root / f"{number}.depth.png")
        else:
            np.save(root / f"{number}.depth.npy", stored)
        lines.append(f"{number}.png {number}.depth.{'png' if stored.dtype == np.uint16 else 'npy'}\n")
    (root / "train.txt").write_text("".join(lines[:-1]))
    (root / "validation.txt").write_text(lines[-1])
    low, high = limits
    data = (
        f"data={{name: file_list, root: '{root}', train: train.txt, validation: validation.txt, size: [32, 48], "
        f"min_depth: {low}, max_depth: {high}{options}}}"
    )
    return configuration(tiny, data, *sets)


def integers(depths: list[np.ndarray], scale: float) -> list[np.ndarray]:
    return [np.rint(one * scale).clip(0, 65535).astype(np.uint16) for one in depths]


def both(found) -> list[str]:
    """The unit warnings of data check; a training gives the same warnings from fewer pixels."""
    problems = [line for line in check_data(found).problems if "frames have no depth between" not in line]
    doubts = dataset_doubts(open_dataset(found))
    assert [doubt.text.partition("the depth looks like")[2] for doubt in doubts] == [
        line.partition("the depth looks like")[2] for line in problems
    ]
    return problems


@pytest.mark.parametrize(
    ("of", "stored", "read", "limits"),
    [
        ("kinect", 5000, 1000, ROOM),  # TUM RGB-D: a room that goes to 16 m
        ("kinect", 5000, 1000, (0.3, 6.0)),
        ("kinect", 1000, 5000, ROOM),
        ("kinect", 1000, 256, ROOM),
        ("kinect", 1000, 1, ROOM),
        ("nyu_demo", 1000, 5000, ROOM),
        ("nyu_demo", 1000, 256, ROOM),
        ("nyu_demo", 5000, 1000, ROOM),
        ("nyu_demo", 100, 1000, ROOM),
        ("kitti_demo", 256, 1000, STREET),  # goes to 27 % of max_depth
        ("kitti_demo", 256, 5000, STREET),
        ("kitti_demo", 256, 1, STREET),
        ("kitti_demo", 100, 1000, STREET),  # Virtual KITTI
    ],
)
def test_integers_in_another_unit_are_told_with_the_right_one(tiny, tmp_path, data_root, of, stored, read, limits):
    depths = kinect(data_root) if of == "kinect" else metres(data_root, of, 256 if of == "kitti_demo" else 1000)
    wrong = data_set(tiny, tmp_path / "a", integers(depths, stored), limits, options=f", depth_scale: {read}")
    (problem,) = both(wrong)
    assert f"the depth looks like {stored} units per metre" in problem
    assert f"set data.depth_scale: {stored}" in problem
    assert "set analysis.check_units: false" in problem
    trusted = wrong.model_copy(update={"analysis": wrong.analysis.model_copy(update={"check_units": False})})
    assert both(trusted) == []
    right = data_set(tiny, tmp_path / "b", integers(depths, stored), limits, options=f", depth_scale: {stored}")
    assert both(right) == []


@pytest.mark.parametrize(("factor", "name"), [(1000, "millimetres"), (100, "centimetres")])
def test_floats_that_are_not_metres_are_told(tiny, tmp_path, data_root, factor, name):
    depths = [(factor * one).astype(np.float32) for one in metres(data_root, "nyu_demo", 1000)]
    wrong = data_set(tiny, tmp_path / "a", depths, ROOM)
    problems = check_data(wrong).problems
    assert problems[-1].startswith("data: 100% of the known depth is above data.max_depth 10 m")
    assert f"the depth looks like {name}: floats are read as metres: set data.float_scale: {factor};" in problems[-1]
    with pytest.raises(DataError, match=f"no training frame has depth.*set data.float_scale: {factor};"):
        train(wrong, tmp_path / "out", CPU)
    assert both(data_set(tiny, tmp_path / "b", depths, ROOM, options=f", float_scale: {factor}")) == []


def test_floats_between_0_and_1_are_told(tiny, tmp_path, data_root):
    depths = [(one / 10).astype(np.float32) for one in metres(data_root, "nyu_demo", 1000)]
    (problem,) = both(data_set(tiny, tmp_path / "a", depths, ROOM))
    assert "looks like shares of max_depth, 0 to 1: set data.float_scale: 0.1," in problem


@pytest.mark.parametrize(
    ("of", "limits"),
    [
        ("kinect", (0.3, 6.0)),
        ("kinect", ROOM),
        ("kinect", (0.5, 15.0)),
        ("kinect", (0.1, 20.0)),
        ("kinect", (1.0, 3.0)),
        ("nyu_demo", ROOM),
        ("nyu_demo", (0.3, 6.0)),
        ("nyu_demo", (1e-3, 20.0)),
        ("kitti_demo", STREET),
        ("kitti_demo", (1.0, 50.0)),
        ("kitti_demo", (2.0, 120.0)),
        ("kitti_demo", (1e-3, 200.0)),
    ],
)
def test_depth_in_the_right_unit_is_not_doubted_whatever_the_range(tiny, tmp_path, data_root, of, limits):
    depths = kinect(data_root) if of == "kinect" else metres(data_root, of, 256 if of == "kitti_demo" else 1000)
    assert both(data_set(tiny, tmp_path / "a", integers(depths, 1000), limits)) == []
    floats = [one.astype(np.float32) for one in depths]
    assert both(data_set(tiny, tmp_path / "b", floats, limits, options=", depth_scale: 256")) == []


@pytest.mark.parametrize(
    "data",
    [
        "{name: kitti_raw, root: 'ROOT/kitti_raw', stride: 6, size: [96, 320], min_depth: 1.0, max_depth: 80.0}",
        "{name: seven_scenes, root: 'ROOT/7scenes/redkitchen', stride: 10, size: [48, 64], min_depth: 0.5, "
        "max_depth: 15.0}",
        "{name: procedural, size: [48, 64], min_depth: 0.3, max_depth: 6.0, scenes: 3, frames: 12}",
        "{name: procedural, size: [48, 64], min_depth: 2.0, max_depth: 80.0, scenes: 3, frames: 12, variety: driving}",
    ],
)
def test_data_sets_that_know_their_unit_are_not_doubted(tiny, data_root, data):
    assert both(configuration(tiny, "data=" + data.replace("ROOT", str(data_root)), "data.split.gap=0")) == []


class Own:
    """A user's class that reads Kinect's depth and forgets, or takes, a factor."""

    def __init__(self, *, root: Path, factor: float) -> None:
        self.depths = [(factor * one).astype(np.float32) for one in kinect(root)]

    def videos(self) -> list[Video]:
        return [Video("only", len(self.depths))]

    def files(self) -> list[Path]:
        return []

    def read(self, video: int, index: int) -> Frame:
        depth = self.depths[index]
        image = np.zeros((*depth.shape, 3), np.uint8)
        return Frame(f"frame {index}", image, depth, np.eye(3), np.eye(4))


@pytest.mark.parametrize(
    ("factor", "remedy"), [(5, "divide by 5"), (1000, "divide by 1000"), (0.1, "multiply by 10"), (1, None)]
)
def test_a_user_s_own_data_set_is_looked_at_too(tiny, data_root, factor, remedy):
    data = f"{{name: 'tests.unit.data.test_plausible:Own', factor: {factor}, root: '{data_root}', size: [32, 48], "
    found = configuration(tiny, f"data={data} min_depth: 0.1, max_depth: 10.0}}", "data.split.gap=0")
    problems = check_data(found).problems
    if remedy is None:
        assert problems == ()
    else:
        assert f"a data set's frames hold metres: {remedy} in its class" in problems[-1]


@pytest.mark.parametrize(("scale", "count"), [(1000, 1), (5000, 0)])
def test_a_training_and_its_evaluation_tell_it(tiny, tmp_path, data_root, scale, count):
    """Read at 1000 a metre, TUM's depth trains to a better-looking result: depth out of range is dropped."""
    depths = [one[::2, ::2] for one in integers(kinect(data_root), 5000)]
    found = data_set(tiny, tmp_path / "a", depths, ROOM, "train.epochs=1", options=f", depth_scale: {scale}")
    told: list[str] = []
    train(found, tmp_path / "out", CPU, on_warning=told.append)
    assert len(told) == count
    evaluate_checkpoint(found, tmp_path / "out" / "checkpoint.pt", "validation", "cpu", on_warning=told.append)
    assert len(told) == 2 * count
    assert all("set data.depth_scale: 5000" in line for line in told)


def test_depth_that_is_mostly_outside_the_range_is_refused(tiny, tmp_path, data_root):
    """At 5000 a metre 89 % of a room lies beyond 6 m: it trained, and a best was named."""
    depths = [one[::2, ::2] for one in integers(kinect(data_root), 5000)]
    wrong = data_set(tiny, tmp_path / "a", depths, (0.3, 6.0), "train.epochs=1")
    assert check_data(wrong).problems
    with pytest.raises(DataError, match=r"above data.max_depth 6 m .*set data.depth_scale: 5000; .*check_units: false"):
        train(wrong, tmp_path / "out", CPU)
    assert not (tmp_path / "out").exists()
    trusted = wrong.model_copy(update={"analysis": wrong.analysis.model_copy(update={"check_units": False})})
    assert train(trusted, tmp_path / "out", CPU)["metrics"]["abs_rel"] > 0
    again = train(wrong, tmp_path / "again", CPU, accepted=True)  # as `compare` trains a study that has its trials
    assert again["metrics"]["abs_rel"] > 0


def test_a_range_that_is_meant_to_be_short_is_trained_with_a_warning(tiny, tmp_path, data_root):
    near = data_set(tiny, tmp_path / "near", integers(kinect(data_root), 1000), (0.1, 1.5), "train.epochs=1")
    told: list[str] = []
    train(near, tmp_path / "out", CPU, on_warning=told.append)
    assert any("outside data.min_depth 0.1 and data.max_depth 1.5 m" in line for line in told)


def test_a_street_with_a_short_range_is_trained_with_a_warning_that_names_both_remedies(tiny, tmp_path):
    """At 256 units per metre, 44 % of it beyond 15 m, as a study of the near range has it."""
    rng = np.random.default_rng(0)
    street = [np.clip(13.5 * np.exp(rng.normal(0, 0.75, (48, 64))), 1, 80) for _ in range(40)]
    found = data_set(
        tiny, tmp_path / "a", integers(street, 256), (0.3, 15.0), "train.epochs=1", options=", depth_scale: 256"
    )
    told: list[str] = []
    train(found, tmp_path / "out", CPU, on_warning=told.append)
    (line,) = told
    assert "of the known depth is above data.max_depth 15 m" in line
    assert "or raise data.max_depth; if the unit is right, set analysis.check_units: false" in line


def test_a_range_that_loses_most_of_the_depth_is_told_without_a_unit(tiny, tmp_path, data_root):
    (problem,) = both(data_set(tiny, tmp_path / "a", integers(kinect(data_root), 1000), (0.1, 1.5)))
    assert problem.startswith("data: ")
    assert "of the known depth is outside data.min_depth 0.1 and data.max_depth 1.5 m" in problem
    assert "looks like" not in problem


@pytest.mark.parametrize("of", ["kinect", "nyu_demo"])
def test_a_room_with_the_range_of_a_street_is_told_to_lower_it_not_to_change_the_unit(tiny, tmp_path, data_root, of):
    depths = kinect(data_root) if of == "kinect" else metres(data_root, of, 1000)
    (problem,) = both(data_set(tiny, tmp_path / "a", integers(depths, 1000), STREET))
    assert "as in a room, but data.max_depth is 80 m: lower data.max_depth, or correct the unit if" in problem
    assert "looks like" not in problem


def test_a_sample_is_small_and_of_known_pixels():
    depth = np.arange(100_000, dtype=np.float32).reshape(250, 400) % 7
    found = sample_of(depth)
    assert 0.9 * SAMPLED < len(found) <= SAMPLED
    assert found.min() > 0
    assert sample_of(np.zeros((3, 4), np.float32)).size == 0
