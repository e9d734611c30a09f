"""The commands that look at data, cost and predictions, as a user calls them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import TINY
from tests.helpers.folders import make
from tests.integration.commands import ALONE, command

pytestmark = pytest.mark.slow


def test_data_check_prints_what_is_there_and_fails_for_a_bad_file(tmp_path):
    folder = make(tmp_path / "scene")
    data = "data={name: seven_scenes, root: scene, size: [32, 48], min_depth: 0.4, max_depth: 3.0}"
    (tmp_path / "tiny.yaml").write_text(TINY)
    said = command("data", "check", "tiny.yaml", "--set", data, cwd=tmp_path).stdout
    assert "seq-01" in said
    assert "48x64" in said
    assert "train 14, validation 1, test 1 frames" in said
    assert "60 files read" in said
    (folder / "frame-000002.depth.png").write_bytes(b"")
    done = command("data", "check", "tiny.yaml", "--set", data, "--json", cwd=tmp_path, expect=1)
    plain = json.loads(done.stdout)
    assert plain["videos"][0]["frames"] == 19
    assert "frame-000002" in plain["problems"][0]
    assert done.stderr.strip().splitlines()[-1] == "1 problem"
    names = command("data", "frames", "tiny.yaml", "--split", "train", cwd=tmp_path).stdout.splitlines()
    assert names[0] == "room 0, frame 0"
    assert len(names) == 22


def test_predictions_of_another_program(tmp_path):
    tree = yaml.safe_load(TINY)
    tree["loss"]["fractional"]["weight"] = tree["loss"]["consistency"]["weight"] = 1.0
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    frames = command("data", "frames", "config.yaml", "--split", "test", cwd=tmp_path).stdout.splitlines()
    np.save(tmp_path / "two.npy", np.full((len(frames), 8, 12), 2.0))
    words = ("evaluate", "config.yaml", "--predictions", "two.npy", "--split", "test")
    metrics = json.loads(command(*words, "--json", cwd=tmp_path).stdout)
    assert metrics["protocol"]["split"] == "test"
    assert 0.05 < metrics["metrics"]["abs_rel"] < 1
    half = json.loads(command(*words, "--json", "--inverse", cwd=tmp_path).stdout)
    assert half["metrics"]["rmse"] > metrics["metrics"]["rmse"]  # half a metre
    done = command("evaluate", "config.yaml", cwd=tmp_path, expect=2)
    assert done.stderr.strip() == "give --checkpoint or --predictions"


def test_cost_prints_a_row_for_every_encoder_and_size_that_can_be_measured(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    names = ("test_efficientnet", "test_vit", "no_such_encoder")
    encoders = tuple(word for name in names for word in ("--encoder", name))
    sizes = ("--size", "32x48", "--size", "50x70")
    words = ("cost", "tiny.yaml", *encoders, *sizes, "--device", "cpu", "--seconds", "0.2", "--json")
    done = command(*words, cwd=tmp_path, expect=2)
    rows = json.loads(done.stdout)
    assert [(row["encoder"], row["size"]) for row in rows] == [
        ("test_efficientnet", [32, 48]),
        ("test_efficientnet", [50, 70]),
        ("test_vit", [32, 48]),
    ]
    assert rows[1]["multiply_adds"] > 2 * rows[0]["multiply_adds"]
    assert "model.encoder=test_vit data.size=[50, 70]" in done.stderr
    assert "timm has no model 'no_such_encoder'" in done.stderr
    done = command("cost", "tiny.yaml", "--size", "32", cwd=tmp_path, expect=2)
    assert "--size: expected HEIGHTxWIDTH such as 240x320, found '32'" in done.stderr


def test_compare_trains_the_weights_of_one_study_on_the_data_of_the_other(tmp_path):
    short = TINY.replace("epochs: 4", "epochs: 1").replace("trials: 6", "trials: 2")
    for name, seed in (("one", 0), ("two", 1)):
        text = short.replace("name: tiny", f"name: {name}").replace("tiny.db", f"{name}.db")
        (tmp_path / f"{name}.yaml").write_text(text.replace("frames: 16,", f"frames: 16, seed: {seed},"))
        command("run", f"{name}.yaml", *ALONE, cwd=tmp_path)
    said = command("compare", "one.yaml", "two.yaml", cwd=tmp_path).stdout
    lines = said.splitlines()[1:]
    assert {line.split()[0] for line in lines[10:]} == {"one:", "two:"}  # verdicts
    assert [line.split()[0] for line in lines[:10]] == [
        "one",
        "published",
        "depth_only",
        "constant_depth",
        "mean_depth",
        "two",
        "published",
        "depth_only",
        "constant_depth",
        "mean_depth",
    ]
    only = ("--baseline", "published")
    found = json.loads(
        command("compare", "one.yaml", "two.yaml", "--transfer", "--seeds", "2", "--json", *only, cwd=tmp_path).stdout
    )
    assert found["objective"] == "abs_rel"
    assert found["protocols"]["two"]["crop"] == "none"
    trained = [entry for entry in found["entries"] if not entry["trivial"]]
    labels = [(entry["study"], entry["label"]) for entry in trained]
    assert labels == [
        (one, label)
        for one, other in (("one", "two"), ("two", "one"))
        for label in ("best", "published", f"best of {other}")
    ]
    assert all(len(entry["values"]["test"]) == 2 for entry in trained)


def test_a_study_does_not_go_on_with_other_data(tmp_path):
    make(tmp_path / "scene")
    data = f"{{name: seven_scenes, root: '{tmp_path / 'scene'}', size: [32, 48], min_depth: 0.3, max_depth: 6.0}}"
    text = TINY.replace("epochs: 4", "epochs: 1").replace("trials: 6", "trials: 2")
    lines = [f"data: {data}" if line.startswith("data:") else line for line in text.splitlines()]
    (tmp_path / "tiny.yaml").write_text("\n".join(lines))
    command("run", "tiny.yaml", *ALONE, cwd=tmp_path)
    (tmp_path / "scene").rename(tmp_path / "moved")  # the same data at another place are the same data
    (tmp_path / "scene").symlink_to(tmp_path / "moved")
    command("run", "tiny.yaml", *ALONE, cwd=tmp_path)
    for path in (tmp_path / "scene" / "seq-01").glob("*.depth.png"):
        Image.fromarray(2 * np.asarray(Image.open(path))).save(path)
    done = command("run", "tiny.yaml", *ALONE, cwd=tmp_path, expect=2)
    assert "the data set has changed since the study 'tiny' began (mean train depth " in done.stderr
    assert "start another study with --force-new NAME" in done.stderr


def test_names_are_shown_as_they_are(tmp_path):
    """The name of the folder is markup to a terminal library."""
    make(tmp_path / "scene").rename(tmp_path / "scene" / "seq-[b] [red]")
    data = f"data={{name: seven_scenes, root: '{tmp_path / 'scene'}', size: [32, 48], min_depth: 0.1, max_depth: 6.0}}"
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert "seq-[b] [red]" in command("data", "check", "tiny.yaml", "--set", data, cwd=tmp_path).stdout


def test_validate_takes_a_batch_of_noise_through_network_and_loss(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert "is valid" in command("validate", "tiny.yaml", cwd=tmp_path).stdout
    assert not [path for path in tmp_path.iterdir() if path.name != "tiny.yaml"]
    loss = "loss={ssim: {weight: {low: 0.1, high: 1.0}, window: 63}}"
    words = ("--set", loss, "--set", "search.baselines={}")
    done = command("validate", "tiny.yaml", *words, cwd=tmp_path, expect=2)
    assert "loss.ssim.window: 63 pixels do not fit into a depth map of 32x48" in done.stderr
