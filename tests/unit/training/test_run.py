from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from tests.helpers.lists import make
from tests.helpers.trainings import CPU, configuration, numbers
from tests.video import COTRAINING
from weightsearch.config import load_configuration
from weightsearch.data.dataset import changed_content, open_dataset
from weightsearch.errors import CheckpointError, DataError, WeightsearchError
from weightsearch.evaluation.evaluate import evaluate_checkpoint, load_network
from weightsearch.evaluation.predictions import Meaning, evaluate_predictions
from weightsearch.records import EpochRecord
from weightsearch.runtime.checkpoint import read_checkpoint, write_checkpoint
from weightsearch.training.preflight import preflight
from weightsearch.training.run import train


def test_the_folder_holds_checkpoint_configuration_and_metrics(tiny, tmp_path):
    found = configuration(tiny)
    result = train(found, tmp_path / "out", CPU)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["loss"]["fractional"]["weight"] == 10.0
    assert result["epoch"] == 4
    assert result["protocol"]["split"] == "validation"
    assert result["protocol"]["crop"] == "none"
    assert result["environment"]["versions"]["torch"] == torch.__version__.split("+")[0]


def test_given_again_it_goes_on_where_it_stood(tiny, tmp_path):
    found = configuration(tiny)
    whole = train(found, tmp_path / "whole", CPU)

    class Stop(Exception):
        pass

    def stop_after_two(record):
        if record.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        train(found, tmp_path / "cut", CPU, on_epoch=stop_after_two)
    seen = []
    again = train(found, tmp_path / "cut", CPU, on_epoch=seen.append)
    assert [record.epoch for record in seen] == [3, 4]
    assert again["metrics"] == whole["metrics"]
    assert train(found, tmp_path / "cut", CPU, on_epoch=seen.append)["metrics"] == whole["metrics"]
    assert len(seen) == 2
    assert len(numbers(seen)) == 2


def test_a_video_without_any_truth_is_learned_from(tmp_path):
    """A list of pictures alone and their camera. Nothing can be measured, and a search has no objective."""
    rng = np.random.default_rng(0)
    for index in range(12):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    lines = [f"{index}.png None\n" for index in range(12)]
    for name, part in (("train", lines[:8]), ("validation", lines[8:])):
        (tmp_path / f"{name}.txt").write_text("".join(part))
    (tmp_path / "K.txt").write_text("30 0 16\n0 30 12\n0 0 1\n")
    video = COTRAINING.splitlines()
    start = next(row for row, line in enumerate(video) if line.startswith("data:"))
    listed = f"data: {{name: file_list, root: {tmp_path}, train: train.txt, validation: validation.txt, "
    video[start : start + 2] = [
        listed + "intrinsics: K.txt, size: [48, 64], min_depth: 2, max_depth: 80, neighbours: [-1, 1]}"
    ]
    (tmp_path / "video.yaml").write_text("\n".join(video))
    found = load_configuration(tmp_path / "video.yaml")
    seen: list[EpochRecord] = []
    result = train(found, tmp_path / "out", CPU, on_epoch=seen.append)
    assert result["metrics"] == {}
    assert [record.epoch for record in seen] == [1, 2]
    assert seen[1].train_loss < seen[0].train_loss
    assert evaluate_checkpoint(found, tmp_path / "out" / "checkpoint.pt", "validation")[0] == {}
    with pytest.raises(DataError, match="abs_rel cannot be measured on the validation split"):
        preflight(found, open_dataset(found), ["abs_rel"])


def test_depth_that_is_to_be_learned_is_known_where_it_is_measured(tmp_path, tiny):
    make(tmp_path, 12)
    for name, depth, part in (("train", "{}.depth.png", range(8)), ("validation", "empty.png", range(8, 12))):
        (tmp_path / f"{name}.txt").write_text("".join(f"{one}.png {depth.format(one)}\n" for one in part))
    Image.fromarray(np.zeros((24, 32), dtype=np.uint16)).save(tmp_path / "empty.png")
    listed = "{name: file_list, root: ., train: train.txt, validation: validation.txt, size: [32, 48], "
    found = configuration(tiny, f"data={listed}min_depth: 0.3, max_depth: 6}}")
    with pytest.raises(DataError, match="no frame of the validation split has depth"):
        train(found, tmp_path / "out", CPU)


def test_a_training_does_not_go_on_with_frames_of_another_split(tiny, tmp_path):
    """The files and their names stay, but two frames change places between the lists."""
    make(tmp_path, 12)

    def lists(validation: range) -> None:
        lines = {index: f"{index}.png {index}.depth.png\n" for index in range(12)}
        (tmp_path / "v.txt").write_text("".join(lines[index] for index in validation))
        (tmp_path / "t.txt").write_text("".join(lines[index] for index in range(12) if index not in validation))

    data = f"{{name: file_list, root: '{tmp_path}', train: t.txt, validation: v.txt, size: [32, 32], min_depth: 0.1, max_depth: 9}}"
    sets = [f"data={data}", "train.epochs=1"]
    lists(range(8, 12))
    found = configuration(tiny, *sets)
    first = open_dataset(found).content
    assert first["train frames"] == 8
    assert first["validation depth"] == pytest.approx(0.5 * (9 + 10 + 11 + 12) / 4)
    assert train(found, tmp_path / "out", CPU)["metrics"] == train(found, tmp_path / "out", CPU)["metrics"]
    lists(range(6, 10))
    changed = changed_content(first, open_dataset(found).content)
    depth = [line for line in changed if line.startswith("mean ") and " depth " in line]
    assert depth == ["mean train depth 2.25 -> 2.75", "mean validation depth 5.25 -> 4.25"]
    with pytest.raises(
        WeightsearchError,
        match=r"checkpoint.pt is the checkpoint of other data under the same name: mean train depth 2.25",
    ):
        train(found, tmp_path / "out", CPU)


def test_a_checkpoint_evaluates_to_what_training_measured(tiny, tmp_path):
    found = configuration(tiny)
    result = train(found, tmp_path, CPU)
    metrics, protocol = evaluate_checkpoint(found, tmp_path / "checkpoint.pt", "validation")
    assert metrics == result["metrics"]
    test, protocol = evaluate_checkpoint(found, tmp_path / "checkpoint.pt", "test")
    assert protocol.split == "test"
    assert test["abs_rel"] != metrics["abs_rel"]


def test_flip_averaging_is_the_mean_of_the_picture_and_its_mirror_image(tiny, tmp_path):
    found = configuration(tiny)
    train(found, tmp_path, CPU)
    flipped = found.model_copy(update={"evaluation": found.evaluation.model_copy(update={"flip_average": True})})
    metrics, _ = evaluate_checkpoint(flipped, tmp_path / "checkpoint.pt", "test")
    dataset = open_dataset(found)
    network = load_network(found, tmp_path / "checkpoint.pt", CPU).eval()
    with torch.inference_mode():
        image = dataset.to_batch(dataset.gather(dataset.splits["test"]), CPU).image
        plain = network(image)["depth"]
        both = (plain + network(image.flip(-1))["depth"].flip(-1)) / 2
    np.save(tmp_path / "both.npy", both.numpy())
    np.save(tmp_path / "plain.npy", plain.numpy())
    expected = evaluate_predictions(found, tmp_path / "both.npy", "test", Meaning())[0]
    assert metrics == pytest.approx(expected, rel=1e-5)
    assert metrics["rmse"] != pytest.approx(
        evaluate_predictions(found, tmp_path / "plain.npy", "test", Meaning())[0]["rmse"], rel=1e-3
    )


def test_a_checkpoint_of_another_network_does_not_fit(tiny, tmp_path):
    train(configuration(tiny, "train.epochs=1"), tmp_path, CPU)
    with pytest.raises(WeightsearchError, match="does not fit the network"):
        evaluate_checkpoint(configuration(tiny, "model.channels=6"), tmp_path / "checkpoint.pt", "test")


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod."])
def test_weights_of_another_program_evaluate_alike(tiny, tmp_path, prefix):
    found = configuration(tiny, "train.epochs=1")
    metrics = train(found, tmp_path, CPU)["metrics"]
    state = read_checkpoint(tmp_path / "checkpoint.pt")["network"]
    torch.save({"state_dict": {f"{prefix}{name}": one for name, one in state.items()}}, tmp_path / "other.ckpt")
    assert evaluate_checkpoint(found, tmp_path / "other.ckpt", "validation")[0] == metrics


def test_files_that_are_no_checkpoint_are_refused_by_evaluation_and_resume_in_the_same_words(tiny, tmp_path):
    found = configuration(tiny, "train.epochs=2")
    pages = {
        b"<!doctype html><html>": "is a web page, not weights",
        b"version https://git-lfs.github.com/spec/v1\noid": "is a Git-LFS pointer",
        b"": "is empty",
    }
    for content, message in pages.items():
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(CheckpointError, match=f"cannot read the checkpoint .*checkpoint.pt: it {message}"):
            load_network(found, tmp_path / "checkpoint.pt", CPU)
        with pytest.raises(CheckpointError, match=f"cannot read the checkpoint .*checkpoint.pt: it {message}"):
            train(found, tmp_path, CPU)
    torch.save({"state_dict": {"conv.weight": torch.zeros(3)}}, tmp_path / "checkpoint.pt")
    with pytest.raises(WeightsearchError, match=r"does not fit the network: 0 of \d+ tensors fit; \d+ missing \("):
        load_network(found, tmp_path / "checkpoint.pt", CPU)
    with pytest.raises(CheckpointError, match="weights of other programs go into model.weights"):
        train(found, tmp_path, CPU)


def test_a_checkpoint_with_nan_is_refused_with_the_tensor_s_name(tiny, tmp_path):
    found = configuration(tiny, "train.epochs=1")
    train(found, tmp_path, CPU)
    state = read_checkpoint(tmp_path / "checkpoint.pt")
    state["network"]["heads.bias"][0] = float("nan")
    write_checkpoint(tmp_path / "checkpoint.pt", state)
    with pytest.raises(WeightsearchError, match=r"has NaN or infinite values in 1 of \d+ tensors \(heads.bias\)"):
        load_network(found, tmp_path / "checkpoint.pt", CPU)


class CrashesLater(nn.Module):
    """A user's network that breaks down after the first batches."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)
        self.calls = 0

    def forward(self, image):
        self.calls += 1
        if self.calls > 3:
            raise KeyError("zzz")
        return 2 + self.conv(image)


class CannotBeMade(nn.Module):
    def __init__(self) -> None:
        raise KeyError("zzz")


class TestUsersCode:
    HERE = "tests.unit.training.test_run"

    def train(self, tiny, tmp_path, model):
        found = load_configuration(tiny, [f"model={{name: '{model}'}}", "loss={consistency: {weight: 1}}"])
        with pytest.raises(WeightsearchError) as error:
            train(found, tmp_path / "out", CPU)
        return str(error.value)

    def test_what_it_raises_is_one_line_with_its_place(self, tiny, tmp_path):
        text = self.train(tiny, tmp_path, f"{self.HERE}:CrashesLater")
        assert text.startswith("epoch 1 failed: model.name: the network CrashesLater: KeyError: 'zzz' (")
        assert "test_run.py:" in text

    def test_in_its_constructor_too(self, tiny, tmp_path):
        text = self.train(tiny, tmp_path, f"{self.HERE}:CannotBeMade")
        assert "cannot be made: KeyError: 'zzz' (" in text

    def test_a_network_without_parameters(self, tiny, tmp_path):
        assert "has no parameter that could learn" in self.train(tiny, tmp_path, "torch.nn:Identity")

    def test_a_depth_of_another_shape(self, tiny, tmp_path):
        text = self.train(tiny, tmp_path, f"{self.HERE}:Wide")
        assert "'depth' must be [B, 1, H, W], found [2, 2, 32, 48]" in text


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, image):
        return self.conv(image)


class TestCheckpoints:
    def test_an_old_one_survives_a_failed_write(self, tmp_path):
        path = tmp_path / "c.pt"
        write_checkpoint(path, {"x": 1})
        with pytest.raises(Exception, match="pickle"):
            write_checkpoint(path, {"x": lambda: 0})
        assert read_checkpoint(path)["x"] == 1
        assert list(tmp_path.iterdir()) == [path]

    def test_damaged_missing_and_foreign_files_are_named(self, tmp_path):
        with pytest.raises(WeightsearchError, match=r"no such checkpoint: .*c.pt"):
            read_checkpoint(tmp_path / "c.pt")
        write_checkpoint(tmp_path / "c.pt", {"x": torch.zeros(1000)})
        data = (tmp_path / "c.pt").read_bytes()
        (tmp_path / "c.pt").write_bytes(data[: len(data) // 2])
        with pytest.raises(WeightsearchError, match=r"cannot read the checkpoint .*c.pt"):
            read_checkpoint(tmp_path / "c.pt")
        torch.save({"something": "else"}, tmp_path / "d.pt")
        with pytest.raises(WeightsearchError, match="is not a checkpoint of this version"):
            read_checkpoint(tmp_path / "d.pt")

    def test_code_is_never_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (print, ("ran",))

        torch.save({"format": 1, "x": Evil()}, tmp_path / "c.pt")
        with pytest.raises(WeightsearchError, match="cannot read the checkpoint"):
            read_checkpoint(tmp_path / "c.pt")

    def test_a_place_that_cannot_be_written_is_one_line(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(WeightsearchError, match="cannot write the checkpoint"):
            write_checkpoint(tmp_path / "file" / "c.pt", {})
