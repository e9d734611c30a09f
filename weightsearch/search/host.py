"""Checks of the files that a host needs for training: run folder, user's code, data, weights of the encoder."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from weightsearch.config.schema import Configuration
from weightsearch.errors import DataError, NotShared, WeightsearchError, one_line
from weightsearch.plugins import resolve

LOOKS: Final = 20  # a network file system may show a new file late
PAUSE_SECONDS: Final = 0.5


def missing_on_this_host(marker: str, configuration: str, folders: Sequence[str]) -> str | None:
    """Check a host of a cluster before training; runs on that host. Returns the first missing thing in one line, or
    None. marker: see check_shared. configuration: JSON. folders: folders of the user's code."""
    from weightsearch.data.dataset import outline

    try:
        check_shared(Path(marker))
        add_folders(folders)
        parsed = Configuration.model_validate_json(configuration)
        for kind, name in (
            ("model", parsed.model.name),
            *(("loss", term.term or name) for name, term in parsed.loss.items()),
        ):
            resolve(kind, name)
        check_weights(parsed)
        outline(parsed)
    except NotShared as error:
        return str(error)
    except WeightsearchError as error:
        return f"on the host {platform.node()}: {one_line(str(error))}"
    return None


def call(function: Callable[[], str | None]) -> str | None:
    """Call a function: a plain function for Ray's tasks."""
    return function()


def add_folders(folders: Sequence[str]) -> None:
    """Add the folders of the user's code to the import path."""
    sys.path.extend(folder for folder in folders if folder not in sys.path)


def check_shared(marker: Path) -> None:
    """Raise NotShared if this host does not see the driver's marker file: checkpoints would be missing, too, and trials
    would restart from the beginning. marker: `RUN_DIR/STUDY/ray-.../shared`."""
    for _ in range(LOOKS):
        if marker.exists():
            return
        time.sleep(PAUSE_SECONDS)
    raise NotShared(
        f"the host {platform.node()} does not see the run folder {marker.parents[1]}; set resources.run_dir to a "
        "folder on a file system that all nodes share, by an absolute path"
    )


def check_weights(configuration: Configuration) -> None:
    """Raise DataError if the file of the encoder's weights is missing."""
    weights = configuration.model.options.get("weights")
    if isinstance(weights, str) and Path(weights).is_absolute() and not Path(weights).is_file():
        raise DataError(f"model.weights is away: no such file: {weights}")
