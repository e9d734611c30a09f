from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weightsearch.data.lists import read_rows
from weightsearch.data.sources.file_list import FileList
from weightsearch.data.sources.flow_pairs import FlowPairs
from weightsearch.data.sources.kitti_raw import KittiRaw
from weightsearch.errors import DataError


def words(tmp_path: Path, text: str, *, paths: bool = True) -> list[tuple[str, ...]]:
    (tmp_path / "l.txt").write_text(text)
    return [row.words for row in read_rows(tmp_path / "l.txt", "the list", paths=paths)]


@pytest.mark.parametrize(
    "line",
    [
        "a/0.png b/0.npy 518.9",
        "a/0.png\tb/0.npy\t518.9",
        "a/0.png,b/0.npy,518.9",
        "a/0.png, b/0.npy, 518.9",
        "a/0.png;b/0.npy;518.9",
        '"a/0.png","b/0.npy",518.9',
        "'a/0.png' 'b/0.npy' 518.9",
    ],
)
def test_separators_and_quotes_are_understood(tmp_path, line):
    assert words(tmp_path, line) == [("a/0.png", "b/0.npy", "518.9")]


def test_blank_lines_comments_and_a_header_are_skipped(tmp_path):
    text = "\ufeff# timestamps\n\nrgb depth focal\n  # here it begins\nrgb/0.png depth/0.png\n"
    assert words(tmp_path, text) == [("rgb/0.png", "depth/0.png")]
    assert words(tmp_path, "image,depth_path\nx.png,None\n") == [("x.png", "None")]
    assert words(tmp_path, "0.png None\nrgb depth\n") == [("0.png", "None"), ("rgb", "depth")]  # no header there
    assert words(tmp_path, "None None\n") == [("None", "None")]


def test_names_may_hold_spaces_in_quotes_and_commas(tmp_path):
    assert words(tmp_path, "\"my room/0.png\" 'my room/0 d.png'") == [("my room/0.png", "my room/0 d.png")]
    assert words(tmp_path, "a,1.png b,1.png") == [("a,1.png", "b,1.png")]
    assert words(tmp_path, "ann's/0.png ann's/0.npy") == [("ann's/0.png", "ann's/0.npy")]
    assert words(tmp_path, '"#1/0.png" d.png') == [("#1/0.png", "d.png")]


def test_numbers_and_drives_may_be_separated_by_commas(tmp_path):
    assert words(tmp_path, "drive,frame,side\n2011/d_sync,12,l\n", paths=False) == [("2011/d_sync", "12", "l")]
    assert words(tmp_path, "index\n1, 2\n3\n", paths=False) == [("1", "2"), ("3",)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,rgb/0.png,d.png", "l.txt:2: begins with a row number: '0,rgb/0.png,d.png'; write the list without its"),
        ('"rgb/0.png d.png', "l.txt:2: a quote that is not closed"),
        ("rgb/0.png d.png # blurred", "l.txt:2: a comment must stand on a line of its own"),
    ],
)
def test_what_is_not_safe_to_understand_is_an_error_with_its_line(tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        words(tmp_path, f"0.png 0.d.png\n{line}\n")


@pytest.fixture
def pictures(tmp_path, monkeypatch) -> Path:
    """`data/my rgb/0.png` and `data/d/0.png`, with another working folder."""
    (tmp_path / "data" / "my rgb").mkdir(parents=True)
    (tmp_path / "data" / "d").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "data/my rgb/0.png")
    Image.fromarray(np.full((4, 6), 2000, np.uint16)).save(tmp_path / "data/d/0.png")
    return tmp_path / "data"


@pytest.mark.parametrize(
    "text",
    [
        "rgb depth\n'my rgb/0.png' d/0.png\n",
        "rgb,depth,focal\nmy rgb/0.png,d/0.png,500\n",
        "# made by hand\n'/my rgb/0.png' /d/0.png 500\n",
        "'{root}/my rgb/0.png' {root}/d/0.png\n",
        "# as TUM RGB-D associates them\n1305031453.35 'my rgb/0.png' 1305031453.37 d/0.png\n",
    ],
)
def test_a_list_of_frames_in_every_form(pictures, text):
    (pictures / "l.txt").write_text(text.format(root=pictures))
    assert (FileList(root=pictures, train="l.txt").read(0, 0).depth == 2).all()


def test_a_space_that_no_quote_protects_is_told(pictures):
    for line, found in (("my rgb/0.png d/0.png", "'d/0.png'"), ("my rgb/0.png d/0.png 5", "'my rgb/0.png d/0.png 5'")):
        (pictures / "l.txt").write_text(line)
        with pytest.raises(DataError, match=rf"l.txt:1: expected .*found {found}; names with spaces stand in quotes"):
            FileList(root=pictures, train="l.txt")


def test_paths_in_lists_are_relative_to_the_data_set_s_folder_and_nothing_else(pictures, monkeypatch):
    """One rule: data.root is relative to the working folder, everything else to data.root or the list's own root."""
    (pictures / "lists").mkdir()
    (pictures / "lists" / "l.txt").write_text("'my rgb/0.png' d/0.png\n")
    assert FileList(root=pictures, train="lists/l.txt").read(0, 0).depth[0, 0] == 2
    monkeypatch.chdir(pictures.parent)
    assert FileList(root=Path("data"), train="lists/l.txt").read(0, 0).depth[0, 0] == 2
    assert FileList(root=Path(), train="data/lists/l.txt", train_root="data").read(0, 0).depth[0, 0] == 2
    (pictures / "lists" / "beside.txt").write_text("../d/0.png x.png\n")
    expected = (
        r"beside.txt:1: no file .*paths in this list are relative to .*\(data.train_root\), not to the list's own"
    )
    with pytest.raises(DataError, match=expected + rf" folder, where there is one; set data.train_root to {pictures}"):
        FileList(root=pictures, train="lists/beside.txt")
    (pictures / "lists" / "here.txt").write_text("\ndata/d/0.png x.png\n")
    with pytest.raises(DataError, match=r"here.txt:2: no file .*not to the working folder, where there is one"):
        FileList(root=pictures, train="lists/here.txt")
    for kind in (FileList, KittiRaw):
        with pytest.raises(
            DataError, match=r"lists are looked for relative to data.root .*, not to the working folder"
        ):
            kind(root=Path("data"), train="data/lists/l.txt")


def test_pairs_of_flow_are_listed_in_the_same_way(pictures):
    (pictures / "l.txt").write_text("first,second,flow\n/d/0.png,d/0.png,None\n# the end\n")
    source = FlowPairs(root=pictures, train="l.txt", neighbours=(1,))
    assert source.files() == [pictures / "l.txt", pictures / "d/0.png", pictures / "d/0.png"]
    (pictures / "l.txt").write_text("d/0.png d/0.png\n")
    with pytest.raises(DataError, match=r"l.txt:1: expected 'first second flow' \(or None\), found"):
        FlowPairs(root=pictures, train="l.txt", neighbours=(1,))


def test_the_camera_s_file_may_have_comments_and_commas(pictures):
    (pictures / "l.txt").write_text("'my rgb/0.png' d/0.png\n")
    (pictures / "k.txt").write_text("# fx 0 cx\n5, 0, 2.5\n0, 5, 1.5\n0, 0, 1  # as always\n")
    intrinsics = FileList(root=pictures, train="l.txt", intrinsics="k.txt").read(0, 0).intrinsics
    assert intrinsics.tolist() == [[5, 0, 2.5], [0, 5, 1.5], [0, 0, 1]]


def test_kitti_s_split_files_may_have_a_header_comments_and_absolute_drives(tmp_path, data_root):
    drive = data_root / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_9001_sync"
    (tmp_path / "l.txt").write_text(
        f"drive,frame,side\n# the first\n2011_09_26/{drive.name}/, 0, l\n{drive} 1 l\n/2011_09_26/{drive.name} 2\n"
    )
    source = KittiRaw(root=data_root / "kitti_raw", train=str(tmp_path / "l.txt"))
    assert [source.name(0, index) for index in range(3)] == [
        str(drive / "image_02" / "data" / f"{index:010d}.jpg") for index in range(3)
    ]
