from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.folders import make
from weightsearch.config import load_configuration
from weightsearch.data.check import check_data
from weightsearch.data.dataset import open_dataset
from weightsearch.data.order import Backwards, leaps, place_in_time, videos_of
from weightsearch.data.sources.file_list import FileList
from weightsearch.errors import DataError
from weightsearch.evaluation.predictions import frame_names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/frame-000012.color.png", ("a/frame-#.color", Decimal(12))),
        ("a/0000000003.jpg", ("a/#", Decimal(3))),
        ("a/1305031102.175304.png", ("a/#", Decimal("1305031102.175304"))),
        ("room_2_0007.png", ("room_2_#", Decimal(7))),
        ("left.png", ("left", None)),
    ],
)
def test_a_place_in_time_is_the_last_number(name, expected):
    assert place_in_time(Path(name)) == expected


def runs(*names: str) -> list[list[int]]:
    return [list(run) for run in videos_of([Path(name) for name in names])]


def test_videos_end_where_frames_are_missing_or_the_name_is_another():
    assert runs("a/1.png", "a/2.png", "a/3.png") == [[0, 1, 2]]
    assert runs("a/0.png", "a/2.png", "a/4.png", "a/6.png") == [[0, 1, 2, 3]]  # every second frame
    assert runs("a/10.png", "a/11.png", "a/12.png", "a/57.png", "a/58.png") == [[0, 1, 2], [3, 4]]
    assert runs("a/1.png", "a/2.png", "b/3.png", "b/4.png") == [[0, 1], [2, 3]]
    assert runs("basement_0001.png", "bathroom_0002.png", "cafe_0003.png") == [[0], [1], [2]]
    assert runs("1.98.png", "2.01.png", "2.04.png", "2.08.png") == [[0, 1, 2, 3]]  # times, not quite even
    assert runs() == []


@pytest.mark.parametrize("names", [("a/3.png", "a/1.png"), ("a/1.png", "a/1.png")])
def test_numbers_that_do_not_grow_are_no_video(names):
    with pytest.raises(Backwards) as error:
        runs(*names)
    assert error.value.index == 1


def test_a_shuffled_list_with_neighbours_is_refused_with_its_line(tmp_path):
    for number in range(4):
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / f"f{number}.png")
    (tmp_path / "l.txt").write_text("f0.png\n\nf2.png\nf1.png\n")
    with pytest.raises(
        DataError, match=r"l\.txt:4: f1\.png stands after f2\.png; with data\.neighbours .* sort the list"
    ):
        FileList(root=tmp_path, train="l.txt", neighbours=(1,))
    (tmp_path / "l.txt").write_text("f0.png\nf1.png\nf2.png\nf9.png\n")
    videos = FileList(root=tmp_path, train="l.txt", neighbours=(1,)).videos()
    assert [(Path(video.name).name, video.length) for video in videos] == [("f0.png", 3), ("f9.png", 1)]


def test_leaps_are_where_numbers_are_missing():
    names = [f"a/frame-{n:06d}.color.png" for n in (0, 2, 4, 8, 10)] + [f"b/{n}.jpg" for n in (5, 6, 7, 9)]
    assert leaps(names, [5, 4]) == {3, 8}
    assert leaps(["x/1.png", "x/9.png", "room 2, frame 7", "room 2, frame 8"], [2, 2]) == set()
    assert leaps(["3.png", "2.png", "9.png"], [3]) == set()  # in no order: the numbers say nothing
    assert leaps([f"{index}.png" for index in (0, 1, 2, 3)] + ["", "5.png"], [6]) == set()


def test_frames_on_either_side_of_a_missing_one_are_no_neighbours(tiny, tmp_path):
    """Else the two pictures that a photometric term compares are twice as far apart as all others, and the pose between
    them with them. `data check` and `evaluate --predictions` take the same frames."""
    folder = make(tmp_path / "scene")
    for path in folder.glob("frame-000005.*"):
        path.unlink()
    data = (
        f"data={{name: seven_scenes, root: '{tmp_path / 'scene'}', size: [32, 48], min_depth: 0.1, max_depth: 9, "
        "neighbours: [-1, 1], split: {gap: 0}}"
    )
    found = load_configuration(
        tiny,
        [
            data,
            "loss={photometric_rigid: {weight: 1}}",
            "model={name: disparity, encoder: test_efficientnet, channels: 4}",
            "search=null",
        ],
    )
    dataset = open_dataset(found)
    train = [Path(dataset.frames.names[index]).name[6:12] for index in dataset.splits["train"]]
    assert train == [f"{n:06d}" for n in (1, 2, 3, 7, 8, 9, 10, 11, 12)]
    checked = check_data(found)
    assert checked.splits["train"] == len(train)
    assert sum(checked.splits.values()) + checked.alone == 19
    assert [Path(name).name[6:12] for name in frame_names(found, "train")] == train
