"""Metrics of a network on a split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.data.dataset import Dataset, open_dataset
from weightsearch.data.reading import Progress
from weightsearch.data.source import SplitName
from weightsearch.errors import CheckpointError, DataError, ModelError
from weightsearch.metrics.depth import DepthMetrics
from weightsearch.metrics.protocol import Protocol, protocol_of
from weightsearch.spec.differences import differences
from weightsearch.spec.sections import Configuration
from weightsearch.training.batches import batches
from weightsearch.training.checkpoint import essentials, read_checkpoint
from weightsearch.training.device import Precision, choose_device, choose_precision
from weightsearch.training.network import build_network, depth_of, predict, quantised


def evaluate(
    network: nn.Module, dataset: Dataset, split: SplitName, protocol: Protocol, precision: Precision, batch_size: int
) -> dict[str, float]:
    """All depth metrics under the protocol. Raises TrialFailure for predictions that are not finite and DataError for a
    split without frames."""
    order = dataset.splits[split]
    if not len(order):
        raise DataError(f"data.split: the {split} split has no frames")
    device = precision.device
    metrics = DepthMetrics(protocol, device)
    truth = dataset.truth(split, protocol.size)
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        done = 0
        for batch in batches(dataset, order, batch_size, device):
            with precision.autocast():
                depth = predicted_depth(network, batch, protocol)
            metrics.update(depth, truth[done : done + len(batch)].to(device, non_blocking=True))
            done += len(batch)
    network.train(was_training)
    return metrics.compute()


def predicted_depth(network: nn.Module, batch: Batch, protocol: Protocol) -> Tensor:
    """Depth as the protocol takes it, in metres, [B, 1, H, W] at the protocol's size; neither clamped nor scaled."""
    depth = _depth(network, batch, protocol)
    if not protocol.flip_average:
        return depth
    mirrored = replace(batch, image=batch.image.flip(-1), features=())
    return (depth + _depth(network, mirrored, protocol).flip(-1)) / 2


def _depth(network: nn.Module, batch: Batch, protocol: Protocol) -> Tensor:
    prediction: dict[str, Tensor] = predict(network, batch)
    if protocol.bits is not None:
        prediction = quantised(network, prediction, protocol.bits)
    return depth_of(prediction, protocol.size)


def evaluate_checkpoint(
    configuration: Configuration,
    checkpoint: Path,
    split: SplitName,
    device_name: str = "auto",
    *,
    epochs: int | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, float], Protocol]:
    """A checkpoint's metrics on a split and the protocol they were taken under. epochs: what it must have been trained
    for. Raises WeightsearchError, of a checkpoint that is not there or not as it should be CheckpointError."""
    device = choose_device(configuration, device_name)
    torch.set_num_threads(configuration.resources.cpus_per_trial)
    network = load_network(configuration, checkpoint, device, epochs)
    dataset = open_dataset(configuration, progress=progress)
    protocol = protocol_of(configuration, split)
    dataset.truth(split, protocol.size, progress)
    precision = choose_precision(configuration.train.amp, device)
    return evaluate(network, dataset, split, protocol, precision, configuration.train.batch_size), protocol


def load_network(
    configuration: Configuration, checkpoint: Path, device: torch.device, epochs: int | None = None
) -> nn.Module:
    """The configuration's network with a checkpoint's weights. Raises WeightsearchError if they do not fit."""
    state = read_checkpoint(checkpoint)
    if epochs not in (None, len(state["history"])):
        raise CheckpointError(f"{checkpoint} was trained for {len(state['history'])} epochs, not {epochs}")
    network = build_network(configuration)
    try:
        network.load_state_dict(state.get("kept") or state["network"])
    except RuntimeError:
        changed = differences(state["configuration"], essentials(configuration))
        why = (
            "; ".join([line for line in changed if line.startswith("model.")][:3])
            or "its tensors have other names or shapes"
        )
        raise ModelError(f"the checkpoint {checkpoint} does not fit the network: {why}") from None
    return network.to(device)
