"""Lists of frames, as people, spreadsheets and other programs write them.

Each line is a row; its cells are separated by spaces and tabs, or by commas or semicolons. Blank lines, lines that
begin with `#` and a header in the first row are skipped. In rows separated by spaces, names with spaces are quoted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weightsearch.data.text import read_text
from weightsearch.errors import DataError

FILE: Final = r"(?:\.(?:png|jpe?g|npy|flo|tiff?|exr|pfm|bmp|webp)|\bNone)"
AFTER_FILE: Final = re.compile(rf"({FILE}[\"']?|[\"'])\s*[,;]\s*", re.IGNORECASE)  # a comma between cells
WORD: Final = re.compile(r"\"([^\"]*)\"(?=\s|$)|'([^']*)'(?=\s|$)|(\S+)")
QUOTES: Final = "\"'"
NONE: Final = "None"
PATTERN: Final = re.compile(r"[*?|]|\[[^\]]+\]|\\[dw]|\{.*\}")  # a shell pattern or a regular expression
TITLE: Final = re.compile(r"[A-Za-z_][A-Za-z_()\[\]-]*")  # a column's title, without digits, dots and slashes
NUMBERED: Final = re.compile(r"\d+[,;].")  # the row numbers that a spreadsheet or pandas writes first


@dataclass(frozen=True)
class Row:
    """A line of a list. place: `file:line`. text: the whole line."""

    place: str
    words: tuple[str, ...]
    text: str


def read_rows(path: Path, what: str, *, paths: bool = True) -> list[Row]:
    """Read the rows of a list. what: the file's name in an error. paths: the cells are file names, which may contain
    commas: only a comma after a complete file name separates cells, and names in such a row may contain spaces. Raises
    DataError with file and line."""
    rows: list[Row] = []
    first = True
    for number, line in enumerate(read_text(path, what).splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        header, first = first and _is_header(text), False
        if not header:
            location = f"{path}:{number}"
            rows.append(Row(location, _words(location, text, paths=paths), line))
    return rows


def _is_header(text: str) -> bool:
    """True if a row contains column titles instead of files or numbers."""
    titles = [title.strip("\"'") for title in re.split(r"[,;\s]+", text) if title]
    return NONE not in titles and all(TITLE.fullmatch(title) for title in titles)


def _words(location: str, text: str, *, paths: bool) -> tuple[str, ...]:
    if not paths:
        return tuple(re.split(r"[,;\s]+", text.strip(",; ")))
    if NUMBERED.match(text):
        raise DataError(f"{location}: begins with a row number: {text!r}; write the list without its index column")
    if AFTER_FILE.search(text):
        raw_cells = [cell.strip() for cell in AFTER_FILE.sub("\\1\0", text).split("\0")]
        cells = [
            cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] and cell[0] in QUOTES else cell for cell in raw_cells
        ]
    else:
        raw_cells = cells = []
        for match in WORD.finditer(text):
            raw_cells = [*raw_cells, match.group()]
            cells = [*cells, next(word for word in match.groups() if word is not None)]
    for whole, cell in zip(raw_cells, cells, strict=True):
        if cell and cell == whole and cell[0] in QUOTES:
            raise DataError(f"{location}: a quote that is not closed: {text!r}")
        if cell == whole and cell.startswith("#"):
            raise DataError(f"{location}: a comment must stand on a line of its own: {text!r}")
    return tuple(cell for cell in cells if cell)


def list_file(root: Path, name: str) -> Path:
    """The path of a list of the data section, relative to `data.root`. Raises DataError for a pattern, and if the list
    is in the working folder instead."""
    path = root / name
    if PATTERN.search(name) and not path.exists():
        raise DataError(f"{path}: no such file; patterns are not supported: name one list, with all its frames")
    if not path.exists() and Path(name).is_file():
        raise DataError(
            f"{path}: no such file; lists are looked for relative to data.root ({root}), not to the working folder, "
            f"where there is one: write {Path(name).absolute()}"
        )
    return path


def listed(folder: Path, word: str) -> Path:
    """The file that a word of a list names, relative to the list's folder; a leading `/` is ignored. If there is no
    such file, an absolute path is accepted."""
    path = folder / word.lstrip("/")
    if word.startswith("/") and not path.exists() and Path(word).exists():
        return Path(word)
    return path


def check_folder(row: Row, path: Path, word: str, folder: Path, option: str) -> None:
    """Raise DataError if the first file that a list names is missing in the folder of the list's paths, but exists
    beside the list or in the working folder. option: the key of the data section that names the folder."""
    if path.exists():
        return
    beside = Path(row.place.rpartition(":")[0]).parent
    for parent, where in ((beside, "the list's own folder"), (Path(), "the working folder")):
        other = parent / word.lstrip("/")
        if other.is_file():
            raise DataError(
                f"{row.place}: no file {path}: paths in this list are relative to {folder} (data.{option}), not to "
                f"{where}, where there is one; set data.{option} to {parent.absolute()}"
            )
