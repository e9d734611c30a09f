"""Record of the CPU model that a training began on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from weightsearch.files import write_text

if TYPE_CHECKING:
    import torch

FILE: Final = "cpu.txt"
ONE_KIND: Final = "results repeat bit for bit on one kind only, so that values may differ in their last digits"


class CpuNote:
    """Records the CPU model in a training's folder, and warns if the training continues on another model. Ignored for
    trainings on a GPU."""

    def __init__(self, folder: Path, device: torch.device, warn: Callable[[str], None]) -> None:
        from weightsearch.runtime.environment import cpu

        self.file = folder / FILE
        self.kind = cpu()
        self.warn = warn
        self.due = device.type == "cpu"

    def resumed(self) -> None:
        """Compare the CPU after resuming from a checkpoint. Trainings of older versions have no record."""
        if not self.due:
            return
        try:
            before = self.file.read_text(encoding="utf-8").strip()
        except OSError:
            return
        self.due = False
        if before != self.kind:
            self.warn(f"the training continues on another kind of CPU ({self.kind}; it began on {before}): {ONE_KIND}")

    def trained(self) -> None:
        """Record the CPU after the first epoch in the checkpoint."""
        if self.due:
            write_text(self.file, f"{self.kind}\n")
            self.due = False
