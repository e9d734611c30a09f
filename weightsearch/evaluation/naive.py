"""Trivial baselines that ignore the image; a useful network must be better."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from weightsearch.data.batch import Batch
from weightsearch.data.dataset import Dataset, relative_poses
from weightsearch.data.reading import Progress
from weightsearch.data.source import SplitName
from weightsearch.evaluation.scores import Predicted, knows_depth, score
from weightsearch.metrics.protocol import Protocol

Predictor = Callable[[Batch, slice], Predicted]

USE_TRUTH: Final = ("last_motion",)  # baselines that use ground truth of the split
DEPTHS: Final = 1000  # most training frames used for the depth baselines


def naive_metrics(
    dataset: Dataset, split: SplitName, protocol: Protocol, batch_size: int, progress: Progress | None = None
) -> dict[str, dict[str, float]]:
    """Evaluate each trivial baseline for which the dataset has ground truth. Returns baseline -> metric -> value.

    constant_depth: the median of the training frames' median depths, at every pixel. mean_depth: each pixel's mean over
    the training frames. Both use at most DEPTHS training frames, evenly spread. zero_motion: a static camera.
    mean_motion: the mean motion of the training split. last_motion: the true motion just before the frame, or the mean
    motion if it is unknown. zero_flow: no motion of any pixel.
    """
    predictors: dict[str, Predictor] = {}
    if knows_depth(dataset, "train") and knows_depth(dataset, split):
        predictors |= _of_depth(dataset, protocol, progress)
    if dataset.offsets and np.isfinite(dataset.frames.pose).all(axis=(1, 2)).any():
        predictors |= _of_motion(dataset, split)
    if dataset.frames.flow is not None:
        predictors["zero_flow"] = lambda batch, _: Predicted(flow=torch.nan_to_num(0 * _flow_of(batch)))
    cpu = torch.device("cpu")
    metrics = {
        name: score(dataset, split, protocol, cpu, batch_size, predictor) for name, predictor in predictors.items()
    }
    return {name: values for name, values in metrics.items() if values}


def _flow_of(batch: Batch) -> Tensor:
    assert batch.motion.flow is not None  # noqa: S101 - for the type checker: the frames have it
    return batch.motion.flow


def _of_depth(dataset: Dataset, protocol: Protocol, progress: Progress | None) -> dict[str, Predictor]:
    # Images of several sizes have common pixels only at the network's size.
    size = dataset.configuration.data.size if protocol.size == "native" else protocol.size
    truth = dataset.truth("train", size, progress, every=math.ceil(len(dataset.splits["train"]) / DEPTHS))
    count = len(truth.rows)
    total, samples = np.zeros(size), np.zeros(size)
    medians: list[float] = []
    for row in range(count):
        depth = truth[row : row + 1][0, 0].double().numpy()
        valid = (depth > protocol.min_depth) & (depth < protocol.max_depth)
        total += np.where(valid, depth, 0)
        samples += valid
        if valid.any():
            medians.append(float(np.median(depth[valid])))
    middle = float(np.median(medians)) if medians else protocol.min_depth
    overall = total.sum() / max(samples.sum(), 1)
    mean = torch.from_numpy(np.where(samples > 0, total / np.maximum(samples, 1), overall)).float()

    def constant(batch: Batch, _: slice) -> Predicted:
        return Predicted(depth=torch.full((len(batch), 1, *size), middle))

    def average(batch: Batch, _: slice) -> Predicted:
        return Predicted(depth=mean.expand(len(batch), 1, *size))

    return {"constant_depth": constant, "mean_depth": average}


def _of_motion(dataset: Dataset, split: SplitName) -> dict[str, Predictor]:
    frames, offsets = dataset.frames, np.array(dataset.offsets)
    train, order = dataset.splits["train"], dataset.splits[split]
    steps = relative_poses(frames.pose[train], frames.pose[train[:, None] + offsets]).astype(np.float64)
    mean = _mean_poses(steps)
    last = np.tile(mean, (len(order), 1, 1, 1))
    for row, (index, (_, position)) in enumerate(zip(order, dataset.places(order), strict=True)):
        for column, offset in enumerate(offsets):
            if position >= abs(offset):  # the motion before the frame over the same number of frames
                before = frames.pose[index - abs(offset)]
                step = relative_poses(before[None], frames.pose[index][None, None])[0, 0].astype(np.float64)
                step = step if offset > 0 else np.linalg.inv(step)
                last[row, column] = step if np.isfinite(step).all() else mean[column]

    def fixed(poses: NDArray[np.float64]) -> Predictor:
        return lambda batch, _: Predicted(poses=torch.from_numpy(poses).float().expand(len(batch), -1, -1, -1))

    def going_on(_: Batch, here: slice) -> Predicted:
        return Predicted(poses=torch.from_numpy(last[here]).float())

    still = np.tile(np.eye(4), (len(offsets), 1, 1))
    return {"zero_motion": fixed(still), "mean_motion": fixed(mean), "last_motion": going_on}


def _mean_poses(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean translation and (chordal) mean rotation of each neighbour: [N, S, 4, 4] -> [S, 4, 4]. Unknown steps are
    omitted."""
    valid = steps[np.isfinite(steps).all(axis=(1, 2, 3))]
    mean = np.tile(np.eye(4), (steps.shape[1], 1, 1))
    if not len(valid):
        return mean
    for neighbour in range(steps.shape[1]):
        mean[neighbour, :3, :3] = Rotation.from_matrix(valid[:, neighbour, :3, :3]).mean().as_matrix()
    mean[:, :3, 3] = valid[..., :3, 3].mean(axis=0)
    return mean
