"""Building a configuration's network, and reading its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from weightsearch.config.schema import Configuration
from weightsearch.data.batch import Batch
from weightsearch.errors import ModelError
from weightsearch.plugins import build_plug_in, known_words
from weightsearch.records import EvaluationSize
from weightsearch.runtime.layout import channels_last
from weightsearch.runtime.seeding import seed_process
from weightsearch.user_code import at, check_callable, own_code

CPU: Final = torch.device("cpu")


def build_network(configuration: Configuration, device: torch.device = CPU) -> nn.Module:
    """Build the network of a configuration, initialised from its seed, in its memory layout. Raises ModelError."""
    model = configuration.model
    seed_process(configuration.seed, "network")
    network = build_plug_in("model", model.name, model.options, configuration.context, "model", ModelError)
    if not isinstance(network, nn.Module):
        raise ModelError(f"model.name: {model.name!r} made {type(network).__name__}, expected a torch.nn.Module")
    check_callable(f"model.name: {model.name!r}", network, *_arguments(network))
    if configuration.train.freeze_encoder:
        encoder_of(network, "freeze_encoder").requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ModelError(f"model.name: {model.name!r} has no parameter that could learn")
    network = network.to(device)
    return channels_last(network, device) if configuration.train.channels_last else network


def _arguments(network: nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of a network's positional and keyword arguments: see `predict`."""
    beside = ("neighbours",) if getattr(network, "takes_neighbours", False) else ()
    return ("image", *beside), ("intrinsics",) if getattr(network, "takes_intrinsics", False) else ()


def encoder_of(network: nn.Module, key: str) -> nn.Module:
    """The network's encoder. key: training option that needs it. Raises ModelError if it has no module `encoder`."""
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ModelError(
            f"train.{key}: the network {type(network).__name__} has no attribute 'encoder' that is a module"
        )
    return encoder


def train_mode(network: nn.Module, *, frozen: bool, waiting: Iterable[nn.Module] = ()) -> None:
    """Set training mode. A frozen encoder and the waiting parts keep their batch-norm statistics."""
    network.train()
    if frozen:
        encoder_of(network, "freeze_encoder").eval()
    for part in waiting:
        part.eval()


def waiting_parts(network: nn.Module, start_epochs: Mapping[str, int], epoch: int) -> list[nn.Module]:
    """Parts of a network that do not learn yet in an epoch (from 1). Raises ModelError for an unknown part."""
    parts = dict(network.named_children())
    for name in start_epochs:
        if name not in parts:
            raise ModelError(f"train.start_epochs: the network has no part {name!r}{known_words(name, parts)}")
    return [parts[name] for name, start in start_epochs.items() if epoch < start]


class Outputs(dict[str, Tensor]):
    """Named outputs in float32. made: the network's outputs before conversion, which show which outputs are computed
    from others. network: the network, for messages."""

    def __init__(self, made: Mapping[str, Tensor], network: nn.Module | None = None) -> None:
        super().__init__(
            (name, tensor.float() if tensor.is_floating_point() else tensor) for name, tensor in made.items()
        )
        self.made = tuple(made.values())
        self.network = network


def predict(network: nn.Module, batch: Batch) -> Outputs:
    """Compute the network's named outputs in float32, from the batch's features if it has them, else from its image;
    also from neighbours and intrinsics if the network has the attributes `takes_neighbours` and `takes_intrinsics`. A
    single tensor is `depth`. Raises ModelError for any other return value."""
    with own_code(f"model.name: the network {type(network).__name__}", network):
        output = _output(network, batch)
    if isinstance(output, Tensor):
        output = {"depth": output}
    if not isinstance(output, Mapping) or not output or not all(isinstance(value, Tensor) for value in output.values()):
        raise ModelError(
            f"model.name: the network {type(network).__name__} must return depth or named tensors, found "
            f"{_kinds(output)}{at(network)}"
        )
    return Outputs(output, network)


def _output(network: nn.Module, batch: Batch) -> Any:
    image = batch.image
    if batch.features:
        return network.from_features(batch.features, (image.shape[-2], image.shape[-1]))  # type: ignore[operator]
    beside = None if batch.neighbours is None else batch.neighbours.image
    more = (beside,) if getattr(network, "takes_neighbours", False) else ()
    camera = {"intrinsics": batch.intrinsics} if getattr(network, "takes_intrinsics", False) else {}
    return network(image, *more, **camera)


def _kinds(output: Any) -> str:
    """Types of a network's return value, for an error message."""
    if isinstance(output, Mapping) and output:
        return ", ".join(
            f"{name!r}: {type(value).__name__}" for name, value in output.items() if not isinstance(value, Tensor)
        )
    if isinstance(output, list | tuple):
        return f"a {type(output).__name__} of {', '.join(type(value).__name__ for value in output) or 'nothing'}"
    return type(output).__name__


def quantised(network: nn.Module, prediction: dict[str, Tensor], bits: int) -> dict[str, Tensor]:
    """Quantise outputs as on hardware with `bits` bits. Raises ModelError if the network does not support it."""
    method = getattr(network, "quantised", None)
    if not callable(method):
        raise ModelError(f"evaluation.bits: the network {type(network).__name__} has no method 'quantised'")
    outputs: dict[str, Tensor] = method(prediction, bits)
    return outputs


def depth_of(prediction: Mapping[str, Tensor], size: EvaluationSize) -> Tensor:
    """Predicted depth in metres, [B, 1, H, W], resized to `size` by bilinear interpolation; not resized for native
    size."""
    if "depth" not in prediction:
        raise ModelError(
            f"model.name: {_whose(prediction)} gives no 'depth' to evaluate; it gives {', '.join(prediction)}"
            f"{_at(prediction)}"
        )
    depth = prediction["depth"]
    if depth.ndim != 4 or depth.shape[1] != 1:
        hint = "; it seems to lie as [B, H, W, 1]: return depth.permute(0, 3, 1, 2)" if depth.shape[-1] == 1 else ""
        raise ModelError(
            f"model.name: {_whose(prediction)}: 'depth' must be [B, 1, H, W], found {list(depth.shape)}{hint}"
            f"{_at(prediction)}"
        )
    return depth if size == "native" else resized(depth, size)


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps [B, C, h, w] by bilinear interpolation."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return torch.nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def resized_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize flow [B, S, 2, h, w] by bilinear interpolation, and convert it to pixels of the new size."""
    height, width = flow.shape[-2:]
    if (height, width) == size:
        return flow
    scale = flow.new_tensor([size[1] / width, size[0] / height])[:, None, None]
    return resized(flow.flatten(0, 1), size).reshape(*flow.shape[:3], *size) * scale


def _whose(prediction: Mapping[str, Tensor]) -> str:
    network = getattr(prediction, "network", None)
    return "the network" if network is None else f"the network {type(network).__name__}"


def _at(prediction: Mapping[str, Tensor]) -> str:
    network = getattr(prediction, "network", None)
    return "" if network is None else at(network)
