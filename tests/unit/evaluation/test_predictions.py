from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.saved_predictions import saved
from tests.helpers.trainings import CPU, configuration, trained
from weightsearch.data.dataset import open_dataset
from weightsearch.data.images import resize_depth
from weightsearch.data.source import Frame, Video
from weightsearch.errors import DataError, TrialFailure, counted
from weightsearch.evaluation.evaluate import evaluate, evaluate_checkpoint
from weightsearch.evaluation.predictions import Meaning, evaluate_predictions
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.metrics.protocol import crop_box, crop_size
from weightsearch.runtime.network import depth_of, predict


def test_saved_predictions_measure_as_the_network_that_made_them(tiny, tmp_path):
    found = configuration(tiny)
    depth = saved(found, tmp_path / "out")
    expected, protocol = evaluate_checkpoint(found, tmp_path / "out" / "checkpoint.pt", "test")
    np.save(tmp_path / "all.npy", depth)
    assert evaluate_predictions(found, tmp_path / "all.npy", "test", Meaning()) == (expected, protocol)
    np.save(tmp_path / "flat.npy", depth[:, 0].astype(np.float64))
    assert evaluate_predictions(found, tmp_path / "flat.npy", "test", Meaning())[0] == expected
    np.save(tmp_path / "inverse.npy", 1 / depth)
    inverse = evaluate_predictions(found, tmp_path / "inverse.npy", "test", Meaning(inverse=True))[0]
    assert inverse == pytest.approx(expected, rel=1e-5)
    (tmp_path / "many").mkdir()
    (tmp_path / "pictures").mkdir()
    for number, one in enumerate(depth[:, 0]):
        np.save(tmp_path / "many" / f"{number:04d}.npy", one)
        Image.fromarray(np.rint(one * 256).astype(np.uint16)).save(tmp_path / "pictures" / f"{number:04d}.png")
    assert evaluate_predictions(found, tmp_path / "many", "test", Meaning())[0] == expected
    pictures = evaluate_predictions(found, tmp_path / "pictures", "test", Meaning(scale=256))[0]
    assert pictures["abs_rel"] == pytest.approx(expected["abs_rel"], abs=0.002)  # 1/256 m is 0.2 % of 2 m
    assert pictures["rmse"] == pytest.approx(expected["rmse"], abs=0.004)


def test_the_truth_itself_is_without_error_and_a_constant_is_what_it_is(tiny, tmp_path):
    found = configuration(tiny)
    dataset = open_dataset(found)
    truth = np.asarray(dataset.frames.depth[dataset.splits["test"]])
    np.save(tmp_path / "truth.npy", truth)
    metrics, _ = evaluate_predictions(found, tmp_path / "truth.npy", "test", Meaning())
    assert metrics["abs_rel"] == 0
    assert metrics["a1"] == 1
    np.save(tmp_path / "two.npy", np.full((len(truth), 8, 12), 2.0))
    metrics, _ = evaluate_predictions(found, tmp_path / "two.npy", "test", Meaning())
    masked = [one[(one > 0.3) & (one < 6.0)].astype(float) for one in truth]
    assert metrics["abs_rel"] == pytest.approx(np.mean([np.mean(np.abs(one - 2) / one) for one in masked]), rel=1e-6)
    assert metrics["rmse"] == pytest.approx(np.mean([np.sqrt(np.mean((one - 2) ** 2)) for one in masked]), rel=1e-6)


def test_what_cannot_be_measured_is_named(tiny, tmp_path):
    found = configuration(tiny)
    dataset = open_dataset(found)
    count = len(dataset.splits["test"])

    def problem(path: Path, meaning: Meaning = Meaning()) -> str:  # noqa: B008 - frozen
        with pytest.raises(DataError) as caught:
            evaluate_predictions(found, path, "test", meaning)
        return str(caught.value)

    np.save(tmp_path / "few.npy", np.ones((count - 1, 8, 12)))
    assert f"{counted(count - 1, 'prediction')}, the test split has {count} frames (room 0, frame" in problem(
        tmp_path / "few.npy"
    )
    np.save(tmp_path / "flat.npy", np.ones((count, 8)))
    assert "expected an array [N, h, w]" in problem(tmp_path / "flat.npy")
    values = np.ones((count, 8, 12))
    values[1, 3, 3] = np.nan
    np.save(tmp_path / "nan.npy", values)
    assert problem(tmp_path / "nan.npy").endswith("nan.npy, number 1: a prediction is not finite")
    np.save(tmp_path / "square.npy", np.ones((count, 8, 8)))
    wrong = (
        "square.npy, number 0: 8x8 pixels are not of the proportions of the truth's 32x48; say what they show: --part"
    )
    assert f"{wrong} whole" in problem(tmp_path / "square.npy")
    square = Meaning(part="square")
    assert problem(tmp_path / "square.npy", square).startswith("unknown part 'square'; known: whole, eigen, garg, ")
    assert "evaluation.crop none counts pixels that predictions of the part kb do not show" in problem(
        tmp_path / "square.npy", Meaning(part="kb")
    )
    (tmp_path / "folder").mkdir()
    assert "folder: 0 predictions" in problem(tmp_path / "folder")
    np.save(tmp_path / "nothing.npy", np.ones((count, 0, 0)))
    assert "nothing.npy, number 0: an empty prediction, [0, 0]" in problem(tmp_path / "nothing.npy")
    np.save(tmp_path / "zeros.npy", np.zeros((count, 8, 12)))
    assert "zeros.npy, number 0: no prediction is above 0" in problem(tmp_path / "zeros.npy")
    assert problem(tmp_path / "gone").endswith("gone: no such file or folder")
    (tmp_path / "one.png").write_bytes(b"\x89PNG")
    assert problem(tmp_path / "one.png").endswith("one.png: not a .npy file of numbers, or a damaged one")
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    assert "text.npy: expected an array of numbers" in problem(tmp_path / "text.npy")


class Large:
    """Frames of 64 x 96 whose depth is known where both coordinates are odd."""

    def __init__(self, *, frames: int = 40, sparse: bool = False) -> None:
        self.count = frames
        self.sparse = sparse

    def videos(self) -> list[Video]:
        return [Video("only", self.count)]

    def files(self) -> list[Path]:
        return []

    def read(self, video: int, index: int) -> Frame:
        rng = np.random.default_rng(index)
        depth = rng.uniform(1, 5, (64, 96)).astype(np.float32)
        depth[::2] = 0
        depth[:, ::2] = 0
        image = rng.integers(0, 256, (64, 96, 3)).astype(np.uint8)
        return Frame(f"frame {index}", image, depth, np.eye(3), np.eye(4), sparse=self.sparse)


def save_truth(folder: Path, names: dict[int, str]) -> None:
    """A file a frame of Large, in a new folder; 3 m where its depth is not known."""
    folder.mkdir()
    for index, name in names.items():
        depth = resize_depth(Large().read(0, index).depth, (32, 48))
        np.save(folder / name, np.where(depth > 0, depth, 3))


LARGE = "data={name: 'tests.unit.evaluation.test_predictions:Large', size: [32, 48], min_depth: 0.3, max_depth: 6.0}"


@pytest.mark.parametrize("sparse", ["false", "true"])
def test_truth_is_compared_at_the_size_of_the_protocol(tiny, tmp_path, sparse):
    """At the native size no pixel of the truth is lost, whatever size the network works at."""
    found = configuration(tiny, LARGE, f"data.sparse={sparse}", "evaluation={size: [64, 96], crop: none}")
    dataset = open_dataset(found)
    truth = dataset.truth("test", (64, 96))
    source = Large()
    expected = np.stack([source.read(0, int(index)).depth for index in dataset.splits["test"]])
    assert np.array_equal(truth[0 : len(expected)][:, 0].numpy(), expected)
    again = dataset.truth("test", (64, 96))[1:2]
    assert again.shape == (1, 1, 64, 96)
    assert np.array_equal(again[0, 0].numpy(), expected[1])
    np.save(tmp_path / "truth.npy", np.where(expected > 0, expected, 3))
    metrics, protocol = evaluate_predictions(found, tmp_path / "truth.npy", "test", Meaning())
    assert protocol.size == (64, 96)
    assert metrics["rmse"] == 0
    small = configuration(tiny, LARGE, f"data.sparse={sparse}")
    assert evaluate_predictions(small, tmp_path / "truth.npy", "test", Meaning())[0]["rmse"] > 0.1


def test_a_truth_that_was_cut_short_is_read_again(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WEIGHTSEARCH_CACHE", str(tmp_path / "own"))
    found = configuration(tiny, LARGE)
    before = open_dataset(found).truth("test", (64, 96))[0:9].clone()
    (path,) = (tmp_path / "own").rglob("truth-64x96-*.npy")
    os.truncate(path, 1000)
    assert torch.equal(open_dataset(found).truth("test", (64, 96))[0:9], before)


def test_a_network_is_measured_at_the_size_of_the_protocol_too(tiny):
    """Its own numbers, upsampled by us or by hand, are the same."""
    found = configuration(tiny, LARGE, "train.epochs=1", "evaluation={size: [64, 96]}")
    trainer = trained(tiny, LARGE, "train.epochs=1", "evaluation={size: [64, 96]}")
    metrics = trainer.history[-1].metrics
    dataset = open_dataset(found)
    order = dataset.splits["validation"]
    trainer.network.eval()
    with torch.inference_mode():
        depth = depth_of(predict(trainer.network, dataset.to_batch(dataset.gather(order), CPU)), (64, 96))
    rows = []
    for index, predicted in zip(order, depth[:, 0].double().numpy(), strict=True):
        true = Large().read(0, int(index)).depth.astype(float)
        mask = true > 0
        rows.append(np.mean(np.abs(np.clip(predicted[mask], 0.3, 6) - true[mask]) / true[mask]))
    assert metrics["abs_rel"] == pytest.approx(np.mean(rows), rel=1e-6)


def test_predictions_without_a_valid_pixel_of_truth_fail(tiny, tmp_path):
    found = configuration(tiny, LARGE, "evaluation={min_depth: 5.5}")
    count = len(open_dataset(found).splits["test"])
    np.save(tmp_path / "one.npy", np.ones((count, 8, 12)))
    with pytest.raises(TrialFailure, match="no test image has a valid pixel"):
        evaluate_predictions(found, tmp_path / "one.npy", "test", Meaning())


@pytest.mark.parametrize("stem", ["{0}", "frame_{0}", "frame {0}"])
def test_files_are_taken_in_the_order_of_their_numbers_or_by_the_frames_names(tiny, tmp_path, stem):
    """Not 1, 10, 11, 2. `frame 27` and so on are the frames' own names: then the names decide."""
    found = configuration(tiny, LARGE, "data.frames=120")
    order = [int(index) for index in open_dataset(found).splits["test"]]
    assert len(order) > 11
    numbers = order if stem == "frame {0}" else range(len(order))
    names = {index: f"{stem.format(number)}.npy" for number, index in zip(numbers, order, strict=True)}
    save_truth(tmp_path / "many", names)
    assert evaluate_predictions(found, tmp_path / "many", "test", Meaning())[0]["rmse"] == 0
    np.save(tmp_path / "many" / f"{stem.format(numbers[0])}.npy", np.full((32, 48), 3.0))
    assert evaluate_predictions(found, tmp_path / "many", "test", Meaning())[0]["rmse"] > 0


def test_files_named_as_the_frames_may_be_more_but_not_fewer(tiny, tmp_path):
    """A folder with all frames of the data set scores any split; a frame without a file is not guessed at."""
    found = configuration(tiny, LARGE)
    order = [int(index) for index in open_dataset(found).splits["test"]]
    save_truth(tmp_path / "all", {index: f"frame {index}.npy" for index in range(40)})
    assert evaluate_predictions(found, tmp_path / "all", "test", Meaning())[0]["rmse"] == 0
    (tmp_path / "numbers").mkdir()
    for index in range(40):  # the number says which frame it is, however the file is called
        (tmp_path / "numbers" / f"depth_{index:05d}.npy").symlink_to(tmp_path / "all" / f"frame {index}.npy")
    told: list[str] = []
    metrics, _ = evaluate_predictions(found, tmp_path / "numbers", "test", Meaning(), note=told.append)
    assert metrics["rmse"] == 0
    assert told[0].startswith(f"files found by the number in their names: depth_{order[0]:05d}.npy is taken for frame")
    (tmp_path / "all" / f"frame {order[1]}.npy").rename(tmp_path / "all" / "frame x.npy")
    with pytest.raises(DataError, match=rf"no prediction of the frame frame {order[1]}: files must be named as the"):
        evaluate_predictions(found, tmp_path / "all", "test", Meaning())


def test_files_that_do_not_say_their_frame_are_told(tiny, tmp_path):
    found = configuration(tiny)
    count = len(open_dataset(found).splits["test"])
    (tmp_path / "many").mkdir()
    for number in range(count):
        np.save(tmp_path / "many" / f"{number}.npy", np.full((8, 12), 2000, dtype=np.uint16))
    told: list[str] = []
    metrics, _ = evaluate_predictions(found, tmp_path / "many", "test", Meaning(), note=told.append)
    assert len(told) == 2
    assert told[1].startswith(f"integers of {tmp_path / 'many'} are read as 1000 units per metre")
    assert told[0].startswith("files in the order of their numbers: 0.npy is taken for room 0, frame ")
    for number in range(count):  # whole numbers are millimetres, as in pictures
        np.save(tmp_path / "many" / f"{number}.npy", np.full((8, 12), 2.0))
    assert evaluate_predictions(found, tmp_path / "many", "test", Meaning())[0] == metrics
    np.save(tmp_path / "all.npy", np.full((count, 8, 12), 512, dtype=np.int32))
    assert evaluate_predictions(found, tmp_path / "all.npy", "test", Meaning(scale=256))[0] == metrics


def test_frames_of_another_split_are_not_taken_for_this_one(tiny, tmp_path):
    found = configuration(tiny, LARGE, "data.frames=80", "data.split={train: 0.5, validation: 0.25, test: 0.25}")
    (tmp_path / "many").mkdir()
    for index in open_dataset(found).splits["test"]:
        np.save(tmp_path / "many" / f"frame {index}.npy", np.full((32, 48), 3.0))
    with pytest.raises(DataError, match=r"no prediction of the frame frame \d\d: files must be named"):
        evaluate_predictions(found, tmp_path / "many", "validation", Meaning())
    assert evaluate_predictions(found, tmp_path / "many", "test", Meaning())[0]["rmse"] > 0


def test_predictions_of_the_kb_crop_are_put_where_it_lies(tiny, tmp_path):
    """Bottom centre: 352 x 1216 of 375 x 1242, in proportion."""
    found = configuration(tiny, LARGE, "evaluation={crop: kb, size: [64, 96]}")
    rows, columns = crop_size("kb", (64, 96))
    assert (rows, columns) == (60, 94)
    truth = open_dataset(found).truth("test", (64, 96))[0:999][:, 0].numpy()
    cropped = truth[:, 64 - rows :, 1 : 1 + columns]
    np.save(tmp_path / "kb.npy", np.where(cropped > 0, cropped, 3))
    assert evaluate_predictions(found, tmp_path / "kb.npy", "test", Meaning())[0]["rmse"] == 0


@pytest.mark.parametrize("crop", ["eigen", "garg", "nyu", "eigen_nyu", "kb"])
def test_predictions_cut_to_a_crop_count_as_whole_ones_do(tiny, tmp_path, crop):
    """By their size, where the protocol has the crop; by --part, where its crop only lies in that one."""
    found = configuration(tiny, LARGE, f"evaluation={{crop: {crop}, size: [64, 96]}}")
    truth = open_dataset(found).truth("test", (64, 96))[0:999][:, 0].numpy()
    rng = np.random.default_rng(0)
    whole = (np.where(truth > 0, truth, 3) * rng.uniform(0.8, 1.3, truth.shape)).astype(np.float32)
    top, bottom, left, right = crop_box(crop, (64, 96))
    np.save(tmp_path / "whole.npy", whole)
    np.save(tmp_path / "part.npy", whole[:, top:bottom, left:right])
    told: list[str] = []
    expected = evaluate_predictions(found, tmp_path / "whole.npy", "test", Meaning(), note=told.append)[0]
    (other_pictures,) = told  # Large is as NYU and KITTI are not
    assert other_pictures.startswith(f"warning: evaluation.crop {crop} is made for images of ")
    told.clear()
    assert evaluate_predictions(found, tmp_path / "part.npy", "test", Meaning(), note=told.append)[0] == expected
    assert told == [
        f"{tmp_path / 'part.npy'}, number 0: {bottom - top}x{right - left} pixels are taken for the crop {crop}",
        other_pictures,
    ]
    other = configuration(tiny, LARGE, "evaluation={crop: none, size: [64, 96]}")
    with pytest.raises(DataError, match=rf"say what they show: --part whole or .*--part {crop}"):
        evaluate_predictions(other, tmp_path / "part.npy", "test", Meaning())
    with pytest.raises(
        DataError, match=f"evaluation.crop none counts pixels that predictions of the part {crop} do not"
    ):
        evaluate_predictions(other, tmp_path / "part.npy", "test", Meaning(part=crop))


def test_garg_s_crop_lies_in_predictions_of_the_kb_crop(tiny, tmp_path):
    found = configuration(tiny, LARGE, "evaluation={crop: garg, size: [64, 96]}")
    truth = open_dataset(found).truth("test", (64, 96))[0:999][:, 0].numpy()
    whole = np.where(truth > 0, 1.2 * truth, 3)
    top, bottom, left, right = crop_box("kb", (64, 96))
    np.save(tmp_path / "whole.npy", whole)
    np.save(tmp_path / "kb.npy", whole[:, top:bottom, left:right])
    with pytest.raises(DataError, match="--part whole or --part kb$"):
        evaluate_predictions(found, tmp_path / "kb.npy", "test", Meaning())
    metrics = evaluate_predictions(found, tmp_path / "kb.npy", "test", Meaning(part="kb"))[0]
    assert metrics == evaluate_predictions(found, tmp_path / "whole.npy", "test", Meaning())[0]


def test_whole_pictures_are_known_by_the_truth_s_or_their_own_proportions_or_said_to_be(tiny, tmp_path):
    """A network that works on squashed pictures; 64x64 of frames of 64x96."""
    squashed = configuration(tiny, LARGE.replace("[32, 48]", "[64, 64]"))
    count = len(open_dataset(squashed).splits["test"])
    np.save(tmp_path / "native.npy", np.full((count, 64, 96), 2.0))
    np.save(tmp_path / "half.npy", np.full((count, 32, 48), 2.0))
    np.save(tmp_path / "size.npy", np.full((count, 32, 32), 2.0))
    np.save(tmp_path / "odd.npy", np.full((count, 16, 64), 2.0))
    first = evaluate_predictions(squashed, tmp_path / "native.npy", "test", Meaning())[0]
    for name in ("half", "size"):
        assert evaluate_predictions(squashed, tmp_path / f"{name}.npy", "test", Meaning())[0] == first
    with pytest.raises(DataError, match="16x64 pixels are not of the proportions of the truth's 64x64"):
        evaluate_predictions(squashed, tmp_path / "odd.npy", "test", Meaning())
    assert evaluate_predictions(squashed, tmp_path / "odd.npy", "test", Meaning(part="whole"))[0] == first


def test_frames_that_lie_in_one_file_are_found_by_their_numbers(tiny, tmp_path, monkeypatch):
    """As those of NYU's labelled file: `nyu_depth_v2_labeled.mat, frame 9`."""
    monkeypatch.setattr(Large, "name", lambda _, video, index: f"nyu_v2.mat, frame {index}", raising=False)
    found = configuration(tiny, LARGE)
    order = [int(index) for index in open_dataset(found).splits["test"]]
    save_truth(tmp_path / "all", {index: f"{index:05d}.npy" for index in range(40)})
    assert evaluate_predictions(found, tmp_path / "all", "test", Meaning())[0]["rmse"] == 0
    for index in set(range(40)) - set(order):
        (tmp_path / "all" / f"{index:05d}.npy").unlink()
    assert evaluate_predictions(found, tmp_path / "all", "test", Meaning())[0]["rmse"] == 0


def test_a_data_set_of_test_frames_alone_can_be_scored(tiny, tmp_path):
    from tests.helpers.lists import make

    make(tmp_path)
    (tmp_path / "test.txt").write_text("0.png 0.depth.png\n2.png 2.depth.png\n")
    data = f"data={{name: file_list, root: '{tmp_path}', test: test.txt, size: [24, 32], min_depth: 0.1, max_depth: 9}}"
    np.save(tmp_path / "one.npy", np.ones((2, 24, 32)))
    metrics, _ = evaluate_predictions(configuration(tiny, data), tmp_path / "one.npy", "test", Meaning())
    assert metrics["abs_rel"] == pytest.approx((0.5 / 0.5 + 0.5 / 1.5) / 2)


def test_outputs_of_few_bits_are_measured_as_the_hardware_would_give_them(tiny):
    """Two heads of 8 bits, rounded to 255 steps by hand."""
    sets = ("model.max_depth=6", "train.epochs=1")
    trainer = trained(tiny, *sets)
    dataset, order = trainer.dataset, trainer.dataset.splits["validation"]
    with torch.inference_mode():
        trainer.network.eval()
        heads = predict(trainer.network, dataset.to_batch(dataset.gather(order), CPU))
    whole, part = ((heads[name] * 255).round() / 255 for name in ("integer", "fractional"))
    depth = (6 * whole + part)[:, 0].double().numpy().clip(0.3, 6)
    truth = np.asarray(dataset.frames.depth[order]).astype(float)
    mask = (truth > 0.3) & (truth < 6)
    expected = [np.mean(np.abs(d[m] - y[m]) / y[m]) for d, y, m in zip(depth, truth, mask, strict=True)]
    found = configuration(tiny, *sets, "evaluation={bits: 8}")
    metrics = evaluate(
        trainer.network, dataset, "validation", protocol_of(found, "validation"), trainer.precision, trainer.batch_size
    )
    assert metrics["abs_rel"] == pytest.approx(np.mean(expected), rel=1e-6)
    assert metrics["abs_rel"] != trainer.history[-1].metrics["abs_rel"]
