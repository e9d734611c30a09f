"""Lists of images and depth maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def make(root: Path, count: int = 3) -> None:
    for index in range(count):
        Image.fromarray(np.full((24, 32, 3), 10 * index, np.uint8)).save(root / f"{index}.png")
        Image.fromarray(np.full((24, 32), 500 * (index + 1), np.uint16)).save(root / f"{index}.depth.png")
