"""Paths with `~`, and atomic writing of files."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from weightsearch.errors import WriteError


def expanded(path: str) -> str:
    """A path with `~`, or `~name`, at its beginning replaced by that home folder."""
    return os.path.expanduser(path)


def write_bytes(path: Path, data: bytes | memoryview, what: str = "") -> None:
    """Write a file atomically: to a temporary file, flushed to the disk, that replaces the old file. Missing folders
    are created. what: added before the path in the message of WriteError. Raises WriteError."""
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise WriteError(f"cannot write {what}{path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # a folder that cannot be accessed contains no temporary file
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """As write_bytes, in UTF-8."""
    write_bytes(path, text.encode())
