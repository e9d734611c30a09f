"""Writing small text files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from weightsearch.errors import WeightsearchError


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text beside the old file, then replace it; folders are made. Raises WeightsearchError."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise WeightsearchError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
