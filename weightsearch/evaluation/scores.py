"""Metrics of predictions on a split: depth, camera motion and flow, where predicted and with ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weightsearch.data.batch import Batch
from weightsearch.data.dataset import Dataset
from weightsearch.data.reading import Progress
from weightsearch.data.source import SplitName
from weightsearch.data.truth import Truth
from weightsearch.errors import DataError
from weightsearch.evaluation.protocols import own_metrics
from weightsearch.metrics.depth_metrics import DepthMetrics
from weightsearch.metrics.flow_metrics import FlowMetrics
from weightsearch.metrics.odometry_metrics import OdometryMetrics
from weightsearch.metrics.protocol import Protocol
from weightsearch.runtime.batches import batches
from weightsearch.runtime.network import resized, resized_flow


@dataclass(frozen=True)
class Predicted:
    """Predictions for a batch; None if missing. depth: metres, [B, 1, h, w], of any size; resized to the ground truth's
    size. poses: from each frame's camera coordinates to its neighbours', [B, S, 4, 4]. flow: pixels of its own size,
    [B, S, 2, h, w]; resized to the ground truth's size."""

    depth: Tensor | None = None
    poses: Tensor | None = None
    flow: Tensor | None = None


def score(
    dataset: Dataset,
    split: SplitName,
    protocol: Protocol,
    device: torch.device,
    batch_size: int,
    predictor: Callable[[Batch, slice], Predicted],
) -> dict[str, float]:
    """Evaluate a predictor, which is called with each batch and its positions in the split. Odometry is evaluated over
    the smallest positive offset of `data.neighbours`; metrics without ground truth are omitted. Raises DataError for a
    split without frames, TrialFailure for predictions that are not finite."""
    order = dataset.splits[split]
    if not len(order):
        raise DataError(f"data.split: the {split} split has no frames")
    depth = DepthMetrics(protocol, device, own_metrics(dataset.configuration))
    odometry, flow = OdometryMetrics(split), FlowMetrics(device, split)
    truths = open_truths(dataset, split, protocol)
    step, positions = _step_ahead(dataset.offsets), dataset.places(order)
    measured = False
    for start, batch in zip(range(0, len(order), batch_size), batches(dataset, order, batch_size, device), strict=True):
        here = slice(start, start + len(batch))
        prediction = predictor(batch, here)
        if truths.depth is not None and prediction.depth is not None:
            measured = True
            for rows, true in truths.depth.parts(here):
                size, moving = (true.shape[-2], true.shape[-1]), _rows(batch.motion.moving, rows)
                depth.update(
                    resized(prediction.depth[rows], size), true.to(device, non_blocking=True), _at(moving, size)
                )
        if step is not None and prediction.poses is not None and batch.neighbours is not None:
            ahead = batch.neighbours.offsets[step]  # every ahead-th frame forms a separate video
            chained = [(video * ahead + index % ahead, index // ahead) for video, index in positions[here]]
            odometry.update(prediction.poses[:, step], batch.neighbours.pose[:, step], chained)
        if truths.flow is not None and prediction.flow is not None:
            for rows, true in truths.flow.parts(here):
                size, moving = (true.shape[-2], true.shape[-1]), _rows(batch.motion.moving, rows)
                flow.update(
                    resized_flow(prediction.flow[rows], size), true.to(device, non_blocking=True), _at(moving, size)
                )
    return (depth.compute() if measured else {}) | odometry.compute() | flow.compute()


@dataclass(frozen=True)
class Truths:
    """Ground-truth depth and flow of a split at the protocol's size; None if missing."""

    depth: Truth | None
    flow: Truth | None


def open_truths(dataset: Dataset, split: SplitName, protocol: Protocol, progress: Progress | None = None) -> Truths:
    """Open the ground truth of a split at the protocol's size. If this is not the network's size, it is read from the
    files the first time. Raises DataError."""
    depth = flow = None
    if knows_depth(dataset, split):
        depth = dataset.truth(split, protocol.size, progress)
    if dataset.offsets and dataset.frames.flow is not None:
        flow = dataset.truth(split, protocol.size, progress, what="flow")
    return Truths(depth, flow)


def _rows(values: Tensor | None, rows: slice) -> Tensor | None:
    return None if values is None else values[rows]


def check_measurable(
    dataset: Dataset, split: SplitName, protocol: Protocol, outputs: Iterable[str], metrics: Iterable[str]
) -> None:
    """Raise DataError for a metric that cannot be computed on a split: an output of the network or the ground truth is
    missing."""
    given = set(outputs)
    cpu = torch.device("cpu")
    there = knows_depth(dataset, split)

    def right(batch: Batch, _: slice) -> Predicted:
        depth = batch.depth.clamp(min=protocol.min_depth) if there and "depth" in given else None
        poses = batch.neighbours.pose.nan_to_num() if batch.neighbours is not None and "pose" in given else None
        flow = batch.motion.flow.nan_to_num() if batch.motion.flow is not None and "flow" in given else None
        return Predicted(depth, poses, flow)

    measurable = score(dataset, split, protocol, cpu, 1, right)
    for name in metrics:
        if name not in measurable:
            raise DataError(
                f"{name} cannot be measured on the {split} split: the data set or the network lacks what it needs; "
                f"available: {', '.join(sorted(measurable)) or 'none'}"
            )


def knows_depth(dataset: Dataset, split: SplitName) -> bool:
    """Return True if any frame of a split has depth."""
    return bool((dataset.frames.content[dataset.splits[split], 0] > 0).any())


def _step_ahead(offsets: tuple[int, ...]) -> int | None:
    """Position of the smallest positive offset; None if there is none."""
    ahead = [offset for offset in offsets if offset > 0]
    return offsets.index(min(ahead)) if ahead else None


def _at(mask: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """Resize a mask [B, 1, H, W] by the nearest pixel."""
    if mask is None or tuple(mask.shape[-2:]) == size:
        return mask
    return interpolate(mask.float(), size=size, mode="nearest-exact") > 0.5
