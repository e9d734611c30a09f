"""Trivial baselines that ignore the image: what a network must beat before its errors mean anything."""

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
from weightsearch.metrics.protocol import Protocol
from weightsearch.training.scores import Predicted, knows_depth, score

Predictor = Callable[[Batch, slice], Predicted]

TOLD: Final = ("last_motion",)  # predictors that are told some truth of the split
DEPTHS: Final = 1000  # training frames whose depth is looked at, at most


def naive_metrics(
    dataset: Dataset, split: SplitName, protocol: Protocol, batch_size: int, progress: Progress | None = None
) -> dict[str, dict[str, float]]:
    """The metrics of each predictor that the data set has the truth for.

    constant_depth: the median of the training frames' median depths, everywhere. mean_depth: each pixel's mean over the
    training frames; of both, over a thousand of them at most, evenly spread. zero_motion, mean_motion: a camera that
    stands, and one that moves as on average in training. last_motion: one that goes on as it truly moved before the
    frame, and where that is not known as on average. zero_flow: nothing moves.
    """
    found: dict[str, Predictor] = {}
    if knows_depth(dataset, "train") and knows_depth(dataset, split):
        found |= _of_depth(dataset, protocol, progress)
    if dataset.offsets and np.isfinite(dataset.frames.pose).all(axis=(1, 2)).any():
        found |= _of_motion(dataset, split)
    if dataset.frames.flow is not None:
        found["zero_flow"] = lambda batch, _: Predicted(flow=torch.nan_to_num(0 * _flow_of(batch)))
    cpu = torch.device("cpu")
    metrics = {name: score(dataset, split, protocol, cpu, batch_size, predictor) for name, predictor in found.items()}
    return {name: one for name, one in metrics.items() if one}


def _flow_of(batch: Batch) -> Tensor:
    assert batch.motion.flow is not None  # noqa: S101 - for the type checker: the frames have it
    return batch.motion.flow


def _of_depth(dataset: Dataset, protocol: Protocol, progress: Progress | None) -> dict[str, Predictor]:
    # Pictures of several sizes have no pixels in common but those of the size that the network works at.
    size = dataset.configuration.data.size if protocol.size == "native" else protocol.size
    truth = dataset.truth("train", size, progress, every=math.ceil(len(dataset.splits["train"]) / DEPTHS))
    count = len(truth.rows)
    total, known = np.zeros(size), np.zeros(size)
    medians: list[float] = []
    for place in range(count):
        depth = truth[place : place + 1][0, 0].double().numpy()
        valid = (depth > protocol.min_depth) & (depth < protocol.max_depth)
        total += np.where(valid, depth, 0)
        known += valid
        if valid.any():
            medians.append(float(np.median(depth[valid])))
    middle = float(np.median(medians)) if medians else protocol.min_depth
    overall = total.sum() / max(known.sum(), 1)
    mean = torch.from_numpy(np.where(known > 0, total / np.maximum(known, 1), overall)).float()

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
    for row, (index, (_, place)) in enumerate(zip(order, dataset.places(order), strict=True)):
        for column, offset in enumerate(offsets):
            if place >= abs(offset):  # from as long before the frame as it is to the neighbour
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
    """The mean translation and the (chordal) mean rotation of each neighbour: [N, S, 4, 4] ->
    [S, 4, 4]; steps that are not known are left out."""
    known = steps[np.isfinite(steps).all(axis=(1, 2, 3))]
    mean = np.tile(np.eye(4), (steps.shape[1], 1, 1))
    if not len(known):
        return mean
    for neighbour in range(steps.shape[1]):
        mean[neighbour, :3, :3] = Rotation.from_matrix(known[:, neighbour, :3, :3]).mean().as_matrix()
    mean[:, :3, 3] = known[..., :3, 3].mean(axis=0)
    return mean
