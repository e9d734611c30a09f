"""`weightsearch init` and the commands' order."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from weightsearch.cli import app
from weightsearch.cli.app import ORDER
from weightsearch.config import load_base, load_study
from weightsearch.config.extends import shipped
from weightsearch.config.json_schema import EDITORS, json_schema
from weightsearch.data.cache import build_source
from weightsearch.errors import ConfigError, WeightsearchError, WriteError
from weightsearch.training.run import train


@pytest.mark.parametrize("name", ["dualhead", "silog", "transfer", "cotraining"])
def test_init_writes_a_commented_study_that_is_valid(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", name], catch_exceptions=False)
    assert done.exit_code == 0
    assert (tmp_path / f"{name}.yaml").read_text().startswith("# yaml-language-server: $schema=study.schema.json\n# ")
    assert json.loads((tmp_path / "study.schema.json").read_text()) == json.loads(json.dumps(json_schema()))
    assert load_study(tmp_path / f"{name}.yaml").name == name
    with pytest.raises(
        WriteError, match=rf"{name}\.yaml exists; replace it with --force, or name another file with --out FILE"
    ):
        CliRunner().invoke(app, ["init", name], catch_exceptions=False)
    CliRunner().invoke(app, ["init", name, "--out", "two.yaml"], catch_exceptions=False)
    assert (tmp_path / "two.yaml").read_text() == (tmp_path / f"{name}.yaml").read_text()


def test_the_name_of_a_shipped_study_in_place_of_a_file_names_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no such file; weightsearch init silog writes the shipped study \(silog\)"):
        load_study("silog")
    begin("silog")
    with pytest.raises(ConfigError, match=r"no such file; did you mean silog\.yaml\? \(silog\)"):
        load_study("silog")


def test_the_schema_of_another_program_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.schema.json").write_text('{"title": "theirs"}\n')
    done = CliRunner().invoke(app, ["init", "silog"], catch_exceptions=False)
    assert (tmp_path / "study.schema.json").read_text() == '{"title": "theirs"}\n'
    assert "schema" not in done.output
    (tmp_path / "study.schema.json").write_text('{"title": "weightsearch study"}\n')  # of an older version
    CliRunner().invoke(app, ["init", "dualhead"], catch_exceptions=False)
    assert "properties" in json.loads((tmp_path / "study.schema.json").read_text())


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsearchError, match="no study 'dualhed'; did you mean 'dualhead'?"):
        CliRunner().invoke(app, ["init", "dualhed"], catch_exceptions=False)
    assert not list(tmp_path.iterdir())


def test_every_shipped_study_is_shown_with_its_first_sentence(capsys):
    app(["init"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    shown = [line.strip().partition(": ") for line in lines if line.startswith("  ")]
    assert sorted(name for name, _, _ in shown) == sorted(shipped())
    assert all(len(sentence) > 20 for _, _, sentence in shown)
    without_data = lines[1 : lines.index("Studies that need a data set:")]
    assert [line.strip().partition(": ")[0] for line in without_data] == [
        *("cotraining", "dualhead", "dualhead_15m", "silog"),
        *("transfer", "transfer_ablation", "transfer_grid", "transfer_random"),
    ]
    assert all(path.read_text().startswith(f"{EDITORS}\n# ") for path in shipped().values())


def test_commands_stand_in_the_order_of_work():
    shown = CliRunner().invoke(app, ["--help"]).output
    found = re.findall(r"(?m)^\W*([a-z]+)  ", shown.partition("Commands")[2])
    assert found == list(ORDER)


def test_the_version_is_that_of_the_package():
    assert CliRunner().invoke(app, ["--version"]).output.strip() == f"weightsearch {version('weightsearch')}"


def scenes(folder: Path, count: int = 30, scale: float = 1000.0) -> tuple[Path, Path]:
    """Pairs of a computed room, as somebody might have recorded them."""
    base = load_base(shipped()["silog"], [f"data.frames={count}", "data.scenes=1", "data.size=[48, 64]"])
    source = build_source(base)
    for number in range(count):
        frame = source.read(0, number)
        for part, name, values in (
            ("photos", f"IMG_{number:04d}.jpg", frame.image),
            ("depth", f"depth_{number:04d}.png", (frame.depth * scale).astype(np.uint16)),
        ):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / part / name)
    return folder / "photos", folder / "depth"


def begin(*words: object) -> str:
    done = CliRunner().invoke(app, ["init", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("template", [None, "dualhead", "transfer"])
def test_pairs_of_ones_own_make_a_study_that_trains(tmp_path, monkeypatch, template):
    monkeypatch.chdir(tmp_path)
    rgb, depth = scenes(tmp_path / "my data")
    words = [] if template is None else [template]
    said = begin(*words, "--rgb", rgb, "--depth", depth)
    assert "30 pairs; the first: IMG_0000.jpg with depth_0000.png" in said
    assert "1000 units per metre (millimetres, as in NYU, 7-Scenes, ScanNet)" in said
    assert "frames: 18 train, 5 validation, 5 test" in said
    study = load_study(tmp_path / "my_data.yaml")
    assert (study.base.data.name, study.base.data.options["depth_scale"]) == ("file_list", 1000)
    base = load_base(tmp_path / "my_data.yaml", ["train.epochs=1", "data.size=[32, 64]"])
    result = train(base, tmp_path / "out", torch.device("cpu"))
    assert 0 < result["metrics"]["abs_rel"] < 2


def test_folders_of_splits_make_a_list_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rgb, depth = scenes(tmp_path / "d")
    for folder in (rgb, depth):
        for number, path in enumerate(sorted(folder.iterdir())):
            split = folder / ("train" if number < 20 else "val" if number < 25 else "test")
            split.mkdir(exist_ok=True)
            path.rename(split / path.name)
    assert "frames: 20 train, 5 validation, 5 test" in begin("--rgb", rgb, "--depth", depth)
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["d_test.txt", "d_train.txt", "d_validation.txt"]


def test_depth_scale_overrides_the_detected_unit_as_init_advises(tmp_path, monkeypatch):
    """Read as centimetres instead of millimetres, the depth range becomes ten times as large."""
    monkeypatch.chdir(tmp_path)
    rgb, depth = scenes(tmp_path / "d")
    said = begin("--rgb", rgb, "--depth", depth)
    detected = load_study("d.yaml").base.data
    advised = re.search(r"run this again with --force --depth-scale UNITS: .*\b(100) for a median of \d+\.?\d* m", said)
    assert advised is not None
    assert "--force --depth-scale UNITS" in Path("d.yaml").read_text()
    said = begin("--rgb", rgb, "--depth", depth, "--force", "--depth-scale", advised[1])
    assert "100 units per metre (centimetres, as in Virtual KITTI); median" in said
    assert "check the unit: 1000 units per metre (millimetres, as in NYU, 7-Scenes, ScanNet) is likelier by the" in said
    assert "--depth-scale" not in said + Path("d.yaml").read_text()
    given = load_study("d.yaml").base.data
    assert (detected.options["depth_scale"], given.options["depth_scale"]) == (1000, 100)
    assert given.max_depth == pytest.approx(10 * detected.max_depth, rel=0.3)
    assert "warning: a median depth of 0.00" in begin("--rgb", rgb, "--depth", depth, "--force", "--depth-scale", 1e6)


def test_a_replacement_that_fails_leaves_the_files_as_they_were(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rgb, depth = scenes(tmp_path / "d")
    begin("--rgb", rgb, "--depth", depth)
    before = {path.name: path.read_text() for path in (Path("d.yaml"), Path("d.txt"))}
    monkeypatch.setattr("weightsearch.starter.writing.outline", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        begin("--rgb", rgb, "--depth", depth, "--force", "--depth-scale", 100)
    assert {name: Path(name).read_text() for name in before} == before


def test_an_image_in_two_splits_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scenes(tmp_path / "d")
    lines = [f"photos/IMG_{number:04d}.jpg depth/depth_{number:04d}.png" for number in range(30)]
    (tmp_path / "d" / "frames.txt").write_text("\n".join(lines + lines))
    assert re.search(r"warning: .*IMG_00\d\d\.jpg", begin("--list", "d/frames.txt"))


def test_a_list_of_ones_own_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scenes(tmp_path / "d", scale=5000)
    lines = [f"photos/IMG_{number:04d}.jpg depth/depth_{number:04d}.png" for number in range(30)]
    (tmp_path / "d" / "frames.txt").write_text("\n".join([*lines, "photos/IMG_0000.jpg None"]))
    said = begin("--list", "d/frames.txt", "--out", "five.yaml")
    assert "30 pairs; left out: 1 without depth" in said
    assert load_study(tmp_path / "five.yaml").base.data.root == str(tmp_path / "d")


def test_known_data_sets_make_a_study(tmp_path, monkeypatch, data_root):
    monkeypatch.chdir(tmp_path)
    said = begin("--seven-scenes", data_root / "7scenes" / "redkitchen")
    assert "seven_scenes: 500 frames" in said
    assert load_study(tmp_path / "redkitchen.yaml").base.data.max_depth == 4
    begin("--kitti", data_root / "kitti_raw")
    assert load_study(tmp_path / "kitti_raw.yaml").base.evaluation.crop == "garg"


def test_what_cannot_be_a_study_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rgb, depth = scenes(tmp_path / "few", count=5)
    for words, message in (
        (
            ("--rgb", rgb, "--depth", depth),
            r"few/photos: 5 frames with depth; at least 12 are needed, to train, validate and test",
        ),
        (("--rgb", rgb), "--rgb needs --depth; both may name the same folder"),
        (("--depth", depth), "--depth needs --rgb; both may name the same folder"),
        (("--rgb", rgb, "--depth", depth, "--nyu", rgb), "--rgb and --nyu exclude each other"),
        (("--rgb", rgb, "--depth", depth, "--depth-scale", 0), "--depth-scale: expected units per metre above 0"),
        (("--nyu", rgb, "--depth-scale", 100), "--depth-scale is for --rgb with --depth, and for --list"),
        (("--seven-scenes", rgb), r"--seven-scenes: .*few/photos has no folder seq-\*"),
        (("--rgb", rgb, "--depth", tmp_path / "no"), "--depth: .*/no: no such folder"),
        (("--nyu", tmp_path / "none"), "none: no such folder"),
        (
            ("cotraining", "--rgb", rgb, "--depth", depth),
            "cotraining learns from neighbouring frames, which these options do not describe: begin with weightsearch init cotraining_7scenes or weightsearch init cotraining_kitti",
        ),
    ):
        with pytest.raises(WeightsearchError, match=message):
            begin(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["few"]


def test_lists_that_are_there_are_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rgb, depth = scenes(tmp_path / "d")
    (tmp_path / "d.txt").write_text("mine")
    with pytest.raises(WriteError, match=r"the list .*/d\.txt exists; replace it with --force, or name"):
        begin("--rgb", rgb, "--depth", depth)
    assert (tmp_path / "d.txt").read_text() == "mine"
