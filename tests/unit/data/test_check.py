from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.folders import make
from weightsearch.config import load_configuration
from weightsearch.data.check import check_data
from weightsearch.data.flow_files import read_flow, write_flo
from weightsearch.data.reading import place_of
from weightsearch.data.source import Video
from weightsearch.errors import DataError

CLOSED = ["loss.fractional.weight=10", "loss.consistency.weight=0.5"]


def data_set(tiny: Path, root: Path):
    sets = [f"data={{name: seven_scenes, root: '{root}', size: [32, 48], min_depth: 1.0, max_depth: 3.0}}", *CLOSED]
    return load_configuration(tiny, sets)


def test_counts_sizes_range_and_coverage(tiny, tmp_path):
    make(tmp_path / "scene")
    seen = []
    found = check_data(data_set(tiny, tmp_path / "scene"), lambda *done: seen.append(done))
    (video,) = found.videos
    assert (video.name, video.frames, video.of, video.sizes) == ("seq-01", 20, 20, ((48, 64),))
    assert (video.low, video.median, video.high) == pytest.approx((0.5, 1.45, 2.4))
    assert video.known == 0.5
    assert video.valid == pytest.approx(0.5 * 14 / 20)  # 1.1 m to 2.4 m; 1.0 m is not above min_depth
    assert video.poses
    assert found.splits == {"train": 14, "validation": 1, "test": 1}
    assert found.files == 60
    (problem,) = found.problems  # .5 m to 1 m, none of it above min_depth
    assert problem.startswith("data: 6 frames have no depth between min_depth 1 and max_depth 3 m: ")
    assert "frame-000000.color.png, where it goes from 0.5 to 0.5 m, and others; is the unit right?" in problem
    assert seen[-1] == (20, 20)


def test_every_bad_file_is_named_and_the_rest_still_counts(tiny, tmp_path):
    folder = make(tmp_path / "scene")
    (folder / "frame-000003.color.png").write_bytes(b"no picture")
    (folder / "frame-000004.depth.png").unlink()
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(folder / "frame-000005.color.png")
    Image.fromarray(np.zeros((24, 32), np.uint16)).save(folder / "frame-000005.depth.png")
    found = check_data(data_set(tiny, tmp_path / "scene"))
    (video,) = found.videos
    assert (video.frames, video.of, video.sizes) == (18, 20, ((24, 32), (48, 64)))
    text = "\n".join(found.problems)
    assert len(found.problems) == 5
    assert "frame-000003.color.png: not an image" in text
    assert "frame-000004" in text
    assert "frame-000005.color.png: 32x24 pixels, its video has 64x48" in text
    assert "frame-000005.color.png: no pixel's depth is known" in text
    plain = json.loads(json.dumps(found.to_plain(), allow_nan=False))
    assert plain["videos"][0]["frames"] == 18


def test_a_split_without_frames_is_a_problem_among_others(tiny, tmp_path):
    make(tmp_path / "scene", count=6)
    found = check_data(data_set(tiny, tmp_path / "scene"))
    assert found.splits is None
    assert any("data.split: validation gets no frame" in line for line in found.problems)


def test_frames_in_two_splits_are_a_problem(tiny, tmp_path):
    folder = make(tmp_path / "scene")
    lines = [f"seq-01/frame-{n:06d}.color.png seq-01/frame-{n:06d}.depth.png" for n in range(20)]
    (folder.parent / "train.txt").write_text("\n".join(lines[:12]))
    (folder.parent / "test.txt").write_text("\n".join([*lines[10:], "seq-01/x.png None"]))
    lists = "train: train.txt, validation: test.txt, test: test.txt"
    data = f"data={{name: file_list, root: '{folder.parent}', size: [32, 48], min_depth: 0.1, max_depth: 3.0, {lists}}}"
    found = check_data(load_configuration(tiny, [data, *CLOSED]))
    assert [line.split(":")[1] for line in found.problems] == [
        " 2 frames are in train and in validation",
        " 2 frames are in train and in test",
        " 10 frames are in validation and in test",
    ]
    assert found.left_out == 2


def test_no_data_set_at_all_is_an_error(tiny, tmp_path):
    (tmp_path / "scene").mkdir()
    with pytest.raises(DataError, match=r"data.root"):
        check_data(data_set(tiny, tmp_path / "scene"))


def test_real_data_is_what_is_known_of_it(tiny, data_root):
    found = check_data(data_set(tiny, data_root / "7scenes" / "redkitchen"))
    (video,) = found.videos
    assert video.frames == video.of == 500
    assert video.median == pytest.approx(1.83, abs=0.1)
    assert 1 - video.known == pytest.approx(0.11, abs=0.02)
    assert found.problems == ()


def test_places_count_through_the_videos():
    videos = [Video("a", 3), Video("b", 2)]
    assert [place_of(videos, index) for index in range(5)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    with pytest.raises(IndexError):
        place_of(videos, 5)


def lists(tiny: Path, root: Path, keys: str, *sets: str):
    data = f"data={{name: file_list, root: '{root}', size: [32, 48], min_depth: 0.1, max_depth: 9, {keys}}}"
    return load_configuration(tiny, [data, *sets, *CLOSED])


def test_every_frame_of_a_list_is_accounted_for(tiny, tmp_path):
    """Split, gap, beyond the fractions, left out: these are all lines of the list."""
    folder = make(tmp_path / "scene")
    lines = [f"seq-01/frame-{n:06d}.color.png seq-01/frame-{n:06d}.depth.png" for n in range(20)]
    (folder.parent / "train.txt").write_text("\n".join([*lines, "seq-01/x.png None"]))
    found = check_data(lists(tiny, folder.parent, "train: train.txt", "data.split={train: 0.5, test: 0.2}"))
    assert found.problems == ()
    assert (found.splits, found.in_gaps, found.beyond) == ({"train": 10, "validation": 1, "test": 2}, 4, 3)
    assert (found.alone, found.left_out) == (0, 1)
    plain = found.to_plain()
    assert sum(plain["splits"].values()) + plain["in_gaps"] + plain["beyond_fractions"] + plain["left_out"] == 21
    found = check_data(lists(tiny, folder.parent, "train: train.txt, neighbours: [1]", "data.split={gap: 0}"))
    assert (found.splits, found.alone) == ({"train": 13, "validation": 2, "test": 2}, 4)


def pairs(tiny: Path, root: Path, flow: str, data_root: Path):
    from PIL import Image as Pillow

    for number in (1, 2):
        picture = Pillow.open(data_root / "flow" / "rubberwhale" / f"frame{number}.png")
        picture.save(root / f"{number}.png")
    (root / "p.txt").write_text(f"1.png 2.png {flow}\n")
    data = f"data={{name: flow_pairs, root: '{root}', train: p.txt, validation: p.txt, size: [32, 48], min_depth: 1, max_depth: 2, neighbours: [1]}}"
    return load_configuration(tiny, [data, "model={name: flow}", "loss={photometric_flow: {weight: 1}}"])


def test_of_pairs_their_flow_is_told(tiny, tmp_path, data_root):
    truth = data_root / "flow" / "rubberwhale" / "flow_gt.flo"
    found = check_data(pairs(tiny, tmp_path, str(truth), data_root))
    assert found.problems == ()
    assert (found.splits, found.alone) == ({"train": 1, "validation": 1, "test": 0}, 0)
    length = np.linalg.norm(read_flow(truth).astype(float), axis=2)
    flow = found.videos[0].flow
    known = float(np.isfinite(length).mean())
    assert (flow.known, flow.median, flow.longest) == pytest.approx((known, np.nanmedian(length), np.nanmax(length)))


def test_true_flow_of_another_size_is_a_problem(tiny, tmp_path, data_root):
    """As the training would say it, but before."""
    write_flo(tmp_path / "half.flo", np.zeros((194, 292, 2), np.float32))
    found = check_data(pairs(tiny, tmp_path, "half.flo", data_root))
    assert len(found.problems) == 1
    assert "1.png: its flow has the shape [194, 292, 2], expected [388, 584, 2]" in found.problems[0]


def test_the_command_tells_flow_gaps_and_an_evaluation_made_for_other_pictures(tiny, tmp_path, data_root):
    from typer.testing import CliRunner

    from weightsearch.cli import app

    def said(*sets: str) -> tuple[str, str]:
        words = [word for one in sets for word in ("--set", one)]
        done = CliRunner().invoke(app, ["data", "check", "tiny.yaml", "--quiet", *words], env={"COLUMNS": "200"})
        assert done.exit_code == 0, done.output
        return done.stdout, done.stderr

    make(tmp_path / "scene")
    data = f"data={{name: seven_scenes, root: '{tmp_path / 'scene'}', size: [32, 48], min_depth: 0.1, max_depth: 9}}"
    out, err = said(data, "evaluation=kitti_eigen")
    assert "train 14, validation 1, test 1 frames" in out
    assert "4 frames are left out at the cuts (data.split.gap 2)" in out
    assert "20 frames in all" in out
    assert "evaluation.crop garg is made for images of 1242x375 pixels" in err
    assert said(data, "evaluation=nyu")[1] == ""
    pairs(tiny, tmp_path, str(data_root / "flow" / "rubberwhale" / "flow_gt.flo"), data_root)
    data = f"data={{name: flow_pairs, root: '{tmp_path}', train: p.txt, validation: p.txt, size: [32, 48], min_depth: 1, max_depth: 2, neighbours: [1]}}"
    out, _ = said(data, "model={name: flow}", "loss={photometric_flow: {weight: 1}}", "search=null")
    assert "median flow" in out
    assert "depth from" not in out
    assert "4.62 px" in out
    assert "train 1, validation 1, test 0 pairs" in out
    assert "left out" not in out
    assert "2 pairs in all" in out


def test_a_pair_that_stands_twice_is_a_problem(tiny, tmp_path, data_root):
    """A first image may also stand with another second one."""
    configuration = pairs(tiny, tmp_path, "None", data_root)
    (tmp_path / "p.txt").write_text("1.png 2.png None\n1.png 2.png None\n1.png 1.png None\n")
    assert [line for line in check_data(configuration).problems if "more than once" in line] == [
        f"data: 1 pair stands more than once in {split}: {tmp_path / '1.png'}" for split in ("train", "validation")
    ]


def test_a_computed_data_set_is_judged_by_some_of_its_frames(tiny, monkeypatch):
    """A street's frames take a core a minute and more to compute, and none of them can be a damaged file."""
    monkeypatch.setattr("weightsearch.data.check.COMPUTED", 10)
    options = "scenes: 2, frames: 20, size: [16, 24], min_depth: 0.3, max_depth: 6.0, neighbours: [1], split: {gap: 0}"
    configuration = load_configuration(tiny, [f"data={{name: procedural, {options}}}", *CLOSED])
    seen = []
    found = check_data(configuration, lambda *done: seen.append(done))
    monkeypatch.setattr("weightsearch.data.check.COMPUTED", 40)
    whole = check_data(configuration)
    assert seen[-1] == (10, 10)  # frames 0, 4, ..., 16 of each video
    assert (found.every, whole.every) == (4, 1)
    assert [(video.frames, video.of) for video in found.videos] == [(20, 20)] * 2
    assert found.splits == {"train": 26, "validation": 4, "test": 4}
    assert (found.splits, found.alone, found.in_gaps) == (whole.splits, whole.alone, whole.in_gaps)
    assert not found.problems
    for some, all_of_them in zip(found.videos, whole.videos, strict=True):
        assert some.sizes == all_of_them.sizes
        assert some.median == pytest.approx(all_of_them.median, rel=0.2)


def test_of_files_every_frame_is_read(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("weightsearch.data.check.COMPUTED", 5)
    make(tmp_path / "scene")
    found = check_data(data_set(tiny, tmp_path / "scene"))
    assert (found.every, found.files) == (1, 60)
