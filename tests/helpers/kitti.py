"""A small drive in the layout of KITTI's raw recordings."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

DATE = "2011_09_26"


DRIVE = f"{DATE}/{DATE}_drive_9001_sync"


def make_drive(root: Path, data: Path, count: int = 4, suffix: str = ".png") -> Path:
    """A drive of a few small frames with the real calibration and a laser that sees one wall."""
    (root / DATE).mkdir(parents=True)
    for name in ("calib_cam_to_cam.txt", "calib_velo_to_cam.txt"):
        shutil.copy(data / DATE / name, root / DATE / name)
    drive = root / DRIVE
    for camera in ("image_02", "image_03"):
        (drive / camera / "data").mkdir(parents=True)
    (drive / "velodyne_points/data").mkdir(parents=True)
    across, up = np.meshgrid(np.linspace(-8, 8, 200), np.linspace(-1.5, 1, 50))
    wall = np.column_stack([np.full(across.size, 12.0), across.ravel(), up.ravel(), np.ones(across.size)])
    for index in range(count):
        for camera, shade in (("image_02", 50), ("image_03", 90)):
            image = Image.fromarray(np.full((375, 1242, 3), shade + index, np.uint8))
            image.save(drive / camera / "data" / f"{index:010d}{suffix}")
        wall.astype("<f4").tofile(drive / f"velodyne_points/data/{index:010d}.bin")
    return drive
