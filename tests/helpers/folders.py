"""Folders of images and depth maps to check."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def make(root: Path, count: int = 20) -> Path:
    folder = root / "seq-01"
    folder.mkdir(parents=True)
    for index in range(count):
        stem = folder / f"frame-{index:06d}"
        depth = np.zeros((48, 64), np.uint16)
        depth[:24] = 500 + 100 * index
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(f"{stem}.color.png")
        Image.fromarray(depth).save(f"{stem}.depth.png")
        Path(f"{stem}.pose.txt").write_text("\n".join("\t".join(map(str, row)) for row in np.eye(4)))
    return folder
