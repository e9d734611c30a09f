"""Metrics of a network on a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.data.dataset import Dataset, open_dataset
from weightsearch.data.plausible import dataset_doubts
from weightsearch.data.reading import Progress
from weightsearch.data.source import SplitName
from weightsearch.errors import CheckpointError, ModelError
from weightsearch.geometry.pose import pose_matrix
from weightsearch.metrics.protocol import Protocol, protocol_of
from weightsearch.spec.differences import differences
from weightsearch.spec.sections import Configuration
from weightsearch.training.checkpoint import essentials, read_checkpoint
from weightsearch.training.device import Precision, choose_device, choose_precision
from weightsearch.training.network import build_network, depth_of, predict, quantised
from weightsearch.training.scores import Predicted, score


def evaluate(
    network: nn.Module, dataset: Dataset, split: SplitName, protocol: Protocol, precision: Precision, batch_size: int
) -> dict[str, float]:
    """All metrics, under the protocol, of what the network predicts and the data set knows: depth, the camera's motion,
    flow; none of a video without truth. Raises TrialFailure for predictions that are not finite and DataError for a
    split without frames."""

    def predictor(batch: Batch, _: slice) -> Predicted:
        with precision.autocast():
            prediction = predict(network, batch)
            depth = as_protocol(network, prediction, batch, protocol) if "depth" in prediction else None
        poses = pose_matrix(prediction["pose"]) if "pose" in prediction else None  # in full precision
        return Predicted(depth, poses, prediction.get("flow"))

    was_training = network.training
    network.eval()
    with torch.inference_mode():
        found = score(dataset, split, protocol, precision.device, batch_size, predictor)
    network.train(was_training)
    return found


def predicted_depth(network: nn.Module, batch: Batch, protocol: Protocol) -> Tensor:
    """Depth as the protocol takes it, in metres, [B, 1, H, W] at the protocol's size; neither clamped nor scaled."""
    return as_protocol(network, predict(network, batch), batch, protocol)


def as_protocol(network: nn.Module, prediction: dict[str, Tensor], batch: Batch, protocol: Protocol) -> Tensor:
    """`predicted_depth` of a prediction that is there."""
    depth = _depth(network, prediction, protocol)
    if not protocol.flip_average:
        return depth
    camera = batch.intrinsics.clone()
    camera[:, 0, 1] *= -1
    camera[:, 0, 2] = batch.image.shape[-1] - 1 - camera[:, 0, 2]
    mirrored = replace(batch, image=batch.image.flip(-1), intrinsics=camera, features=(), neighbours=None)
    return (depth + _depth(network, predict(network, mirrored), protocol).flip(-1)) / 2


def _depth(network: nn.Module, prediction: dict[str, Tensor], protocol: Protocol) -> Tensor:
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
    look: Callable[[nn.Module, Dataset, Protocol, Precision], None] | None = None,
    on_doubt: Callable[[str], None] | None = None,
) -> tuple[dict[str, float], Protocol]:
    """A checkpoint's metrics on a split and the protocol they were taken under. epochs: what it must have been trained
    for. look: is shown the network. on_doubt: told what looks wrong about the data. Raises WeightsearchError, of a
    checkpoint that is not there or not as it should be CheckpointError."""
    device = choose_device(configuration, device_name)
    torch.set_num_threads(configuration.resources.cpus_per_trial)
    network = load_network(configuration, checkpoint, device, epochs)
    dataset = open_dataset(configuration, progress=progress)
    if on_doubt is not None:
        for line in dataset_doubts(dataset, [split]):
            on_doubt(line)
    protocol = protocol_of(configuration, split)
    dataset.truth(split, protocol.size, progress)
    precision = choose_precision(configuration.train.amp, device)
    if look is not None:
        look(network, dataset, protocol, precision)
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
