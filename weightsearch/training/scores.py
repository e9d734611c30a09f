"""The metrics of a split: of depth, of the camera's motion and of flow, as far as they are predicted and known."""

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
from weightsearch.metrics.depth_metrics import DepthMetrics
from weightsearch.metrics.flow_metrics import FlowMetrics
from weightsearch.metrics.odometry_metrics import OdometryMetrics
from weightsearch.metrics.protocol import Protocol
from weightsearch.training.batches import batches
from weightsearch.training.network import resized, resized_flow
from weightsearch.training.protocols import own_metrics


@dataclass(frozen=True)
class Predicted:
    """Predictions for a batch, None where there are none. depth: metres at any size, [B, 1, h, w]; it is resized to the
    truth's size. poses: from each frame's camera coordinates to its neighbours', [B, S, 4, 4]. flow: pixels of its own
    size, [B, S, 2, h, w]; resized to the truth's size as well."""

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
    """The metrics of a predictor, which is given each batch and its places in the split. Odometry is measured over the
    smallest step ahead that `data.neighbours` has; what is not known is not measured. Raises DataError for a split
    without frames, TrialFailure for predictions that are not finite."""
    order = dataset.splits[split]
    if not len(order):
        raise DataError(f"data.split: the {split} split has no frames")
    depth = DepthMetrics(protocol, device, own_metrics(dataset.configuration))
    odometry, flow = OdometryMetrics(split), FlowMetrics(device, split)
    truths = open_truths(dataset, split, protocol)
    step, places = _step_ahead(dataset.offsets), dataset.places(order)
    measured = False
    for start, batch in zip(range(0, len(order), batch_size), batches(dataset, order, batch_size, device), strict=True):
        here = slice(start, start + len(batch))
        found = predictor(batch, here)
        if truths.depth is not None and found.depth is not None:
            measured = True
            for rows, true in truths.depth.parts(here):
                size, moving = (true.shape[-2], true.shape[-1]), _rows(batch.motion.moving, rows)
                depth.update(resized(found.depth[rows], size), true.to(device, non_blocking=True), _at(moving, size))
        if step is not None and found.poses is not None and batch.neighbours is not None:
            ahead = batch.neighbours.offsets[step]  # frames this far apart are a video of their own
            chained = [(video * ahead + index % ahead, index // ahead) for video, index in places[here]]
            odometry.update(found.poses[:, step], batch.neighbours.pose[:, step], chained)
        if truths.flow is not None and found.flow is not None:
            for rows, true in truths.flow.parts(here):
                size, moving = (true.shape[-2], true.shape[-1]), _rows(batch.motion.moving, rows)
                flow.update(resized_flow(found.flow[rows], size), true.to(device, non_blocking=True), _at(moving, size))
    return (depth.compute() if measured else {}) | odometry.compute() | flow.compute()


@dataclass(frozen=True)
class Truths:
    """A split's true depth and flow at the protocol's size; None where the data set has none."""

    depth: Truth | None
    flow: Truth | None


def open_truths(dataset: Dataset, split: SplitName, protocol: Protocol, progress: Progress | None = None) -> Truths:
    """The truth of a split at the protocol's size, read from the files the first time where that is not the size the
    network works at. Raises DataError."""
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
    """Raise DataError for a metric that a network with these outputs cannot have on a split, because the data set does
    not know what it compares with."""
    given = set(outputs)
    cpu = torch.device("cpu")
    there = knows_depth(dataset, split)

    def right(batch: Batch, _: slice) -> Predicted:
        depth = batch.depth.clamp(min=protocol.min_depth) if there and "depth" in given else None
        poses = batch.neighbours.pose.nan_to_num() if batch.neighbours is not None and "pose" in given else None
        flow = batch.motion.flow.nan_to_num() if batch.motion.flow is not None and "flow" in given else None
        return Predicted(depth, poses, flow)

    found = score(dataset, split, protocol, cpu, 1, right)
    for name in metrics:
        if name not in found:
            raise DataError(
                f"{name} cannot be measured on the {split} split: the data set, or the network, lacks what it takes; "
                f"measured are {', '.join(sorted(found)) or 'none'}"
            )


def knows_depth(dataset: Dataset, split: SplitName) -> bool:
    """True if any frame of a split has depth."""
    return bool((dataset.frames.content[dataset.splits[split], 0] > 0).any())


def _step_ahead(offsets: tuple[int, ...]) -> int | None:
    """The place of the smallest offset above 0, if there is one."""
    ahead = [offset for offset in offsets if offset > 0]
    return offsets.index(min(ahead)) if ahead else None


def _at(mask: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """A mask [B, 1, H, W] at another size, by the nearest pixel."""
    if mask is None or tuple(mask.shape[-2:]) == size:
        return mask
    return interpolate(mask.float(), size=size, mode="nearest-exact") > 0.5
