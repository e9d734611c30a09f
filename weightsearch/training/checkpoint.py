"""Checkpoints: written whole or not at all, read without running anything."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import torch

from weightsearch.errors import CheckpointError
from weightsearch.files import write_bytes
from weightsearch.spec.differences import flat
from weightsearch.spec.sections import Configuration

FORMAT: Final = 1


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the file by this state, whole or not at all. Raises WeightsearchError if it cannot be written."""
    buffer = io.BytesIO()  # torch makes a false error of whatever interrupts it while it writes to a file
    torch.save({"format": FORMAT, **state}, buffer)
    write_bytes(path, buffer.getbuffer(), "the checkpoint ")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Raises WeightsearchError for a file that is missing, damaged or not a checkpoint of this program."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no such checkpoint: {path}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror or error}") from error
    except Exception:  # the safe unpickler and the zip reader each raise their own, with advice that is none
        raise CheckpointError(f"cannot read the checkpoint {path}: it is damaged, or no checkpoint") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this version of weightsearch")
    return state


def essentials(configuration: Configuration) -> dict[str, Any]:
    """Everything that a training's numbers depend on, flat: dotted path -> plain value."""
    plain = configuration.model_dump(mode="json", exclude={"name": True, "analysis": True, "resources": True})
    if not configuration.data.neighbours:  # as before there were any
        del plain["data"]["neighbours"]
    plain["resources"] = {"cpus_per_trial": configuration.resources.cpus_per_trial}
    return flat(plain)
