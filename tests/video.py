"""Computed video, of which everything is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from weightsearch.config import Configuration, load_configuration
from weightsearch.data.batch import Batch
from weightsearch.data.dataset import Dataset, open_dataset

CPU = torch.device("cpu")

COTRAINING = """\
name: cotraining
seed: 3
data: {name: procedural, variety: driving, size: [48, 64], min_depth: 2.0, max_depth: 80.0, scenes: 2, frames: 12,
  moving: 8, neighbours: [-1, 1], split: {train: 0.5, validation: 0.25, test: 0.25, gap: 0}}
model: {name: co_training, encoder: test_efficientnet, channels: 4, flow_channels: 4, flow_levels: 3, pose_channels: 4}
loss:
  photometric_rigid: {weight: 1.0}
  photometric_flow: {weight: 1.0}
  smooth_depth: {weight: 0.001}
  smooth_flow: {weight: 0.01}
rebalance: {method: neighbourhood, eta: 0.1}
train: {epochs: 2, batch_size: 2, lr: 1.0e-3}
evaluation: {median_scaling: true}
resources: {cpus_per_trial: 1, gpus_per_trial: 0}
"""


def configuration(folder: Path, *overrides: str) -> Configuration:
    path = folder / "cotraining.yaml"
    path.write_text(COTRAINING)
    return load_configuration(path, overrides)


def dataset(folder: Path, *overrides: str) -> Dataset:
    return open_dataset(configuration(folder, *overrides))


def batch_of(data: Dataset, indices: list[int] | None = None) -> Batch:
    """Frames of a data set, those of its training split if none are named."""
    chosen = data.splits["train"] if indices is None else np.array(indices)
    return data.to_batch(data.gather(chosen), CPU)


def truth_of(batch: Batch) -> dict[str, torch.Tensor]:
    """The output of a perfect network; for still scenes only, since it has no sky."""
    assert batch.neighbours is not None
    assert batch.motion.flow is not None
    pose = torch.stack(
        [torch.cat([rotation_vector(one[:3, :3]), one[:3, 3]]) for one in batch.neighbours.pose.flatten(0, 1)]
    )
    depth = torch.where(batch.depth > 0, batch.depth, 1000.0)
    flow = batch.motion.flow.nan_to_num(1e4)
    return {"depth": depth, "pose": pose.reshape(*batch.neighbours.pose.shape[:2], 6), "flow": flow}


def rotation_vector(matrix: torch.Tensor) -> torch.Tensor:
    """The axis times the angle, of a turn of less than 180 degrees."""
    skew = matrix - matrix.T
    axis = torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]]).double() / 2
    sine = axis.norm()
    angle = torch.atan2(sine, (matrix.diagonal().sum().double() - 1) / 2)
    return (axis * (angle / sine if sine > 1e-12 else 1.0)).to(matrix.dtype)
