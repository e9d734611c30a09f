"""Text files as people and other programs write them."""

from __future__ import annotations

from pathlib import Path

from weightsearch.errors import DataError


def read_text(path: Path, what: str) -> str:
    """Read a text file in UTF-8, with or without a byte order mark. what: the file's name in an error. Raises
    DataError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {what} {path}: {getattr(error, 'strerror', None) or error}") from None
