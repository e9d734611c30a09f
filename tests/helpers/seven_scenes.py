"""A small scene in the layout of 7-Scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def make_scene(root: Path, count: int = 3) -> Path:
    folder = root / "seq-02"
    folder.mkdir(parents=True)
    for index in range(count):
        stem = folder / f"frame-{index:06d}"
        Image.fromarray(np.full((48, 64, 3), index, np.uint8)).save(f"{stem}.color.png")
        Image.fromarray(np.full((48, 64), 1000 + index, np.uint16)).save(f"{stem}.depth.png")
        Path(f"{stem}.pose.txt").write_text("\n".join("\t".join(map(str, row)) for row in np.eye(4)))
    return folder
