"""True if a worker sees the files of the driver that it works for."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Final

from weightsearch.errors import NotShared

LOOKS: Final = 20  # a network's file system may show a new file late
PAUSE_SECONDS: Final = 0.5


def check_shared(marker: Path) -> None:
    """Raise NotShared if this host does not see the driver's marker file. Checkpoints are missing here then too, and a
    trial that continues on another host would begin again. marker: `RUN_DIR/STUDY/ray-.../shared`."""
    for _ in range(LOOKS):
        if marker.exists():
            return
        time.sleep(PAUSE_SECONDS)
    raise NotShared(
        f"the host {socket.gethostname()} does not see the run folder {marker.parents[1]}; set resources.run_dir to a "
        "folder on a file system that all nodes share, by an absolute path"
    )
