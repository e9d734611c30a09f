"""Lists that cannot be meant are refused before an image is read."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weightsearch import cli
from weightsearch.config import Configuration, load_base
from weightsearch.data.cache import build_source, open_frames
from weightsearch.data.check import check_data
from weightsearch.data.dataset import open_dataset, outline
from weightsearch.data.listing import check_files
from weightsearch.data.sources.file_list import FileList
from weightsearch.data.sources.flow_pairs import FlowPairs
from weightsearch.errors import DataError
from weightsearch.evaluation.data_warnings import data_warnings
from weightsearch.evaluation.protocols import protocol_of

DATA = "data={name: file_list, root: ., size: [32, 48], min_depth: 0.1, max_depth: 6, train: train.txt%s}"
ROWS = [f"{number}.jpg {number}.png" for number in range(8)]


@pytest.fixture
def study(tiny: Path) -> Path:
    """A study in the working folder, and eight images with depth beside it."""
    rng = np.random.default_rng(0)
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)).save(f"{number}.jpg")
        Image.fromarray(rng.integers(500, 5000, (32, 48)).astype(np.uint16)).save(f"{number}.png")
    return tiny


def write(name: str, rows: list[str]) -> None:
    Path(name).write_text("".join(f"{row}\n" for row in rows))


def configured(study: Path, more: str = "") -> Configuration:
    return load_base(study, [DATA % more])


def command(monkeypatch, capsys, *words: str) -> tuple[int, str]:
    argv = ["weightsearch", *words]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", argv)
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out + said.err


@pytest.mark.parametrize(
    "words", [("validate", "tiny.yaml"), ("run", "tiny.yaml"), ("train", "tiny.yaml", "--out", "out")]
)
def test_a_missing_file_is_named_with_its_line_before_anything_is_created(study, monkeypatch, capsys, words):
    write("train.txt", ["# frames", *ROWS, "8.jpg 8.png", "9.jpg 9.png"])
    before = set(study.parent.iterdir())
    cache = study.parent / "cache"
    monkeypatch.setenv("WEIGHTSEARCH_CACHE", str(cache))
    given = ["name=x", DATA % ""]
    if words[0] == "train":
        given += ["loss.fractional.weight=1", "loss.consistency.weight=1"]
    status, text = command(monkeypatch, capsys, *words, *(word for one in given for word in ("--set", one)))
    assert status == 2
    assert text.count("\n") == 1
    assert f"train.txt:10: no such file: {study.parent / '8.jpg'}; 4 of the 20 files" in text
    assert set(study.parent.iterdir()) == before


def test_a_data_set_checks_each_file_of_pairs_and_of_split_files(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "l.txt").write_text("a.png b.png None\na.png b.png gone.flo\n")
    with pytest.raises(DataError, match=r"l.txt:2: no such file: .*gone.flo$"):
        check_files(FlowPairs(root=tmp_path, train="l.txt", neighbours=(1,)))


def test_a_picture_that_a_split_file_of_kitti_names(data_root, tmp_path):
    from weightsearch.data.sources.kitti_raw import KittiRaw

    root = data_root / "kitti_raw"
    drive = next(path.parents[2] for path in sorted(root.glob("*/*/image_02/data/*")))
    name = drive.relative_to(root)
    number = int(next(iter(sorted((drive / "image_02/data").iterdir()))).stem)
    (tmp_path / "l.txt").write_text(f"{name} {number} l\n{name} 99999 l\n")
    with pytest.raises(DataError, match=r"l.txt:2: no such file: .*0000099999.png$"):
        check_files(KittiRaw(root=root, train=str(tmp_path / "l.txt")))


def test_fifty_thousand_rows_are_checked_in_seconds(study):
    write("train.txt", ["0.jpg 0.png", *(f"{number}.jpg {number}.png" for number in range(50_000))])
    begun = time.process_time()
    with pytest.raises(DataError, match=r"train.txt:10: no such file: .*8.jpg; 99984 of the 100002"):
        check_files(build_source(configured(study)))
    assert time.process_time() - begun < 20


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["0.png 0.jpg"], r"train.txt:1: '0.jpg' cannot be depth, .*; columns exchanged\? expected 'rgb depth'"),
        ([*ROWS, "0.npy 1.png"], r"train.txt:9: '0.npy' cannot be an image; columns exchanged\?"),
        (["# nothing", ""], r"train.txt: the list is empty$"),
        (["0.jpg None"], r"train.txt: no frame of the list has depth$"),
    ],
)
def test_a_list_that_cannot_be_meant(study, rows, said):
    write("train.txt", rows)
    with pytest.raises(DataError, match=said):
        outline(configured(study))
    with pytest.raises(DataError, match=said):
        open_frames(configured(study))


def test_columns_of_pairs_that_are_exchanged(tmp_path):
    (tmp_path / "l.txt").write_text("f.flo a.png b.png\n")
    with pytest.raises(
        DataError, match=r"l.txt:1: 'f.flo' cannot be an image; columns exchanged\? .*first second flow"
    ):
        FlowPairs(root=tmp_path, train="l.txt", neighbours=(1,))
    (tmp_path / "l.txt").write_text("a.png b.png c.jpg\n")
    with pytest.raises(DataError, match=r"l.txt:1: 'c.jpg' cannot be flow"):
        FlowPairs(root=tmp_path, train="l.txt", neighbours=(1,))
    (tmp_path / "l.txt").write_text("# no pair\n")
    with pytest.raises(DataError, match=r"l.txt: the list is empty"):
        FlowPairs(root=tmp_path, train="l.txt", neighbours=(1,))


@pytest.mark.parametrize("name", ["train_[0-9]+.txt", "train_*.txt", r"train_\d.txt", "train_{1,2}.txt"])
def test_a_pattern_is_not_the_name_of_a_list(tmp_path, name):
    with pytest.raises(DataError, match="no such file; patterns are not supported: name one list"):
        FileList(root=tmp_path, train=name)


def test_a_frame_that_stands_twice_and_one_in_two_splits_are_told_everywhere(study, monkeypatch, capsys):
    write("train.txt", [*ROWS[:6], ROWS[2]])
    write("validation.txt", ROWS[5:])
    configuration = configured(study, ", validation: validation.txt")
    said = [
        f"data: 1 frame stands more than once in train: {study.parent / '2.jpg'}",
        f"data: 1 frame is in train and in validation: {study.parent / '5.jpg'}",
    ]
    assert outline(configuration).warnings == tuple(said)
    assert [line for line in check_data(configuration).problems if line in said] == said
    warned = data_warnings(open_dataset(configuration), protocol_of(configuration, "validation"))
    assert [line for line in warned if line in said] == said
    given = DATA % ", validation: validation.txt"
    status, text = command(monkeypatch, capsys, "validate", "tiny.yaml", "--set", given)
    assert status == 0
    assert "warning: data: 1 frame is in train and in" in text


def test_one_list_for_training_and_validation_is_told(study):
    write("train.txt", ROWS)
    (line,) = outline(configured(study, ", validation: train.txt")).warnings
    assert line.startswith("data: 8 frames are in train and in validation: ")
    assert outline(configured(study, ", split: {gap: 0}")).warnings == ()
