"""Checkpoints: written atomically, read without executing code."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import torch

from weightsearch.config.paths import flat
from weightsearch.config.schema import Configuration
from weightsearch.errors import CheckpointError
from weightsearch.files import write_bytes
from weightsearch.tensor_files import UnreadableFile, read_tensors

FORMAT: Final = 1


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the file by this state atomically. Raises WeightsearchError if it cannot be written."""
    buffer = io.BytesIO()  # torch raises a misleading error if writing to a file is interrupted
    torch.save({"format": FORMAT, **state}, buffer)
    write_bytes(path, buffer.getbuffer(), "the checkpoint ")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Raises CheckpointError if it is missing, damaged or of another program."""
    state = read_file(path)
    if not is_own(state):
        raise CheckpointError(
            f"{path} is not a checkpoint of this version of weightsearch; weights of other programs go into "
            "model.weights"
        )
    checked: dict[str, Any] = state
    return checked


def read_file(path: Path) -> Any:
    """Read the content of any program's checkpoint. Raises CheckpointError."""
    try:
        return read_tensors(path)
    except FileNotFoundError:
        raise CheckpointError(f"no such checkpoint: {path}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    except UnreadableFile as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: it {error}") from None


def is_own(state: Any) -> bool:
    """Return True if a file's content is a checkpoint of this version of weightsearch."""
    return isinstance(state, dict) and state.get("format") == FORMAT


def essentials(configuration: Configuration) -> dict[str, Any]:
    """All settings that a training's results depend on: dotted path -> plain value."""
    plain = configuration.model_dump(mode="json", exclude={"name": True, "analysis": True, "resources": True})
    if not configuration.data.neighbours:  # compatible with older checkpoints, which have none
        del plain["data"]["neighbours"]
    plain["resources"] = {"cpus_per_trial": configuration.resources.cpus_per_trial}
    return flat(plain)
