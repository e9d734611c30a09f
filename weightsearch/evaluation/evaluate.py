"""Evaluation of a network on a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightsearch.config.differences import differences
from weightsearch.config.schema import Configuration
from weightsearch.data.batch import Batch
from weightsearch.data.dataset import Dataset, open_dataset
from weightsearch.data.reading import Progress
from weightsearch.data.source import SplitName
from weightsearch.errors import CheckpointError, ModelError
from weightsearch.evaluation.data_warnings import data_warnings
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.evaluation.scores import Predicted, open_truths, score
from weightsearch.geometry.pose import pose_matrix
from weightsearch.metrics.protocol import Protocol
from weightsearch.models.parts.weights import check_finite, check_fit, counter, matching
from weightsearch.runtime.checkpoint import essentials, is_own, read_file
from weightsearch.runtime.device import Precision, choose_device, choose_precision
from weightsearch.runtime.network import Outputs, build_network, depth_of, predict, quantised
from weightsearch.tensor_files import named_tensors


def evaluate(
    network: nn.Module, dataset: Dataset, split: SplitName, protocol: Protocol, precision: Precision, batch_size: int
) -> dict[str, float]:
    """Evaluate a network under the protocol: depth, camera motion and flow, as far as the network predicts them and the
    dataset has ground truth. Raises TrialFailure for predictions that are not finite, DataError for a split without
    frames."""

    def predictor(batch: Batch, _: slice) -> Predicted:
        return predicted(network, batch, protocol, precision)[1]

    was_training = network.training
    network.eval()
    with torch.inference_mode():
        metrics = score(dataset, split, protocol, precision.device, batch_size, predictor)
    network.train(was_training)
    return metrics


def predicted(network: nn.Module, batch: Batch, protocol: Protocol, precision: Precision) -> tuple[Outputs, Predicted]:
    """The network's outputs for a batch, and the predictions for the metrics."""
    with precision.autocast():
        prediction = predict(network, batch)
        depth = as_protocol(network, prediction, batch, protocol) if "depth" in prediction else None
    poses = pose_matrix(prediction["pose"]) if "pose" in prediction else None  # in full precision
    return prediction, Predicted(depth, poses, prediction.get("flow"))


def predicted_depth(network: nn.Module, batch: Batch, protocol: Protocol) -> Tensor:
    """Predict depth under the protocol, in metres, [B, 1, H, W], neither clamped nor scaled. Its size is the
    protocol's, or the network's for a native protocol."""
    return as_protocol(network, predict(network, batch), batch, protocol)


def as_protocol(network: nn.Module, prediction: dict[str, Tensor], batch: Batch, protocol: Protocol) -> Tensor:
    """`predicted_depth` from an existing prediction."""
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
    on_warning: Callable[[str], None] | None = None,
) -> tuple[dict[str, float], Protocol]:
    """Evaluate a checkpoint on a split. Returns the metrics and the protocol.

    epochs: number of epochs that it must have been trained for. look: called with the network. on_warning: called with
    warnings about the data. Raises WeightsearchError; CheckpointError for a missing or unusable checkpoint.
    """
    device = choose_device(configuration, device_name)
    torch.set_num_threads(configuration.resources.cpus_per_trial)
    network = load_network(configuration, checkpoint, device, epochs)
    dataset = open_dataset(configuration, progress=progress)
    protocol = protocol_of(configuration, split)
    if on_warning is not None:
        for line in data_warnings(dataset, protocol, (split,)):
            on_warning(line)
    open_truths(dataset, split, protocol, progress)
    precision = choose_precision(configuration.train.amp, device)
    if look is not None:
        look(network, dataset, protocol, precision)
    return evaluate(network, dataset, split, protocol, precision, configuration.train.batch_size), protocol


def load_network(
    configuration: Configuration, checkpoint: Path, device: torch.device, epochs: int | None = None
) -> nn.Module:
    """Build the configuration's network and load a checkpoint: of weightsearch, or a state dict of another program.
    epochs: number of epochs that it must have been trained for. Raises WeightsearchError if it does not fit."""
    state = read_file(checkpoint)
    network = build_network(configuration, device)
    if is_own(state):
        _load_own(network, configuration, checkpoint, state, epochs)
    elif epochs is not None:
        raise CheckpointError(f"{checkpoint} is not a checkpoint of this version of weightsearch")
    else:
        _load_foreign(network, checkpoint, named_tensors(state))
    return network


def _load_own(
    network: nn.Module, configuration: Configuration, checkpoint: Path, state: dict[str, Any], epochs: int | None
) -> None:
    if epochs not in (None, len(state["history"])):
        raise CheckpointError(f"{checkpoint} was trained for {len(state['history'])} epochs, not {epochs}")
    weights = state.get("kept") or state["network"]
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        changed = differences(state["configuration"], essentials(configuration))
        why = (
            "; ".join([line for line in changed if line.startswith("model.")][:3])
            or "its tensors have other names or shapes"
        )
        raise ModelError(f"the checkpoint {checkpoint} does not fit the network: {why}") from None
    check_finite(named_tensors(weights), f"the checkpoint {checkpoint}")


def _load_foreign(network: nn.Module, checkpoint: Path, held: Mapping[str, Tensor]) -> None:
    """Load weights of another program, with any prefix."""
    wanted = {name: tensor for name, tensor in network.state_dict().items() if isinstance(tensor, Tensor)}
    matched = matching(held, wanted, f"the checkpoint {checkpoint}")
    needed = [name for name in wanted if not counter(name)]
    check_fit(matched, held, wanted, needed, (), f"the checkpoint {checkpoint} does not fit the network")
    check_finite(matched.tensors, f"the checkpoint {checkpoint}")
    network.load_state_dict(matched.tensors, strict=False)
