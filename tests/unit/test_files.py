from __future__ import annotations

from pathlib import Path

import pytest

from weightsearch.errors import WeightsearchError
from weightsearch.files import write_text


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "new" / "x.txt"
    write_text(path, "one, ü\n" * 1000)
    write_text(path, "two")
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", [".", "file/x", "folder"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("folder").mkdir()
    with pytest.raises(WeightsearchError, match=f"cannot write {name}: "):
        write_text(Path(name), "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
