"""Checkpoints: written whole or not at all, read without running anything."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import torch

from weightsearch.errors import CheckpointError, WeightsearchError
from weightsearch.spec.sections import Configuration

FORMAT: Final = 1


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside the old file, flush to the disk, then replace it. Raises WeightsearchError if that fails."""
    buffer = io.BytesIO()  # torch makes a false error of whatever interrupts it while it writes to a file
    torch.save({"format": FORMAT, **state}, buffer)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise WeightsearchError(f"cannot write the checkpoint {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Raises WeightsearchError for a file that is missing, damaged or not a checkpoint of this program."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no such checkpoint: {path}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror or error}") from None
    except Exception:  # the safe unpickler and the zip reader each raise their own, with advice that is none
        raise CheckpointError(f"cannot read the checkpoint {path}: it is damaged, or no checkpoint") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this version of weightsearch")
    return state


def differences(configuration: Configuration, stored: dict[str, Any]) -> list[str]:
    """Where a stored configuration (as plain values) differs in what a training depends on: `path: stored -> now`."""
    now = essentials(configuration)
    return [
        f"{path}: {stored.get(path)!r} -> {now.get(path)!r}"
        for path in sorted(now.keys() | stored.keys())
        if stored.get(path) != now.get(path)
    ]


def essentials(configuration: Configuration) -> dict[str, Any]:
    """Everything that a training's numbers depend on, flat: dotted path -> plain value."""
    plain = configuration.model_dump(mode="json", exclude={"name": True, "resources": True})
    plain["resources"] = {"cpus_per_trial": configuration.resources.cpus_per_trial}
    return flat(plain)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one: dotted path -> value."""
    pairs: dict[str, Any] = {}
    for key, value in tree.items():
        pairs |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return pairs
