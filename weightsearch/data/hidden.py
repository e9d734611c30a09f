"""Hidden files that operating systems create: macOS's `._name` and `.DS_Store`, Windows' `Thumbs.db`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

COMPANIONS: Final = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})


def is_companion(name: str) -> bool:
    """True if a file or folder with this name is hidden, or a companion file of an operating system."""
    return name.startswith(".") or name.lower() in COMPANIONS


def visible(paths: Iterable[Path], below: Path) -> list[Path]:
    """The paths without hidden files, companion files, and files in such folders. below: the folder that was searched;
    its own name and the names above it do not matter."""
    return [path for path in paths if not any(is_companion(part) for part in path.relative_to(below).parts)]
