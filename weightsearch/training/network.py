"""Building a configuration's network, and reading what it predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.errors import ModelError, OptionError, WeightsearchError, fault_line
from weightsearch.plugins import build, known_words
from weightsearch.spec.sections import Configuration, EvaluationSize
from weightsearch.training.seeding import seed_process


def build_network(configuration: Configuration) -> nn.Module:
    """The network of a configuration, initialised from its seed. Raises ModelError."""
    model = configuration.model
    seed_process(configuration.seed, "network")
    try:
        network = build("model", model.name, model.options, configuration.context)
    except OptionError as error:
        raise ModelError(f"model.{error.option}: {error.message}") from None
    except WeightsearchError:
        raise
    except Exception as error:  # a user's constructor may raise anything
        raise ModelError(f"model.name: {model.name!r} cannot be made: {fault_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"model.name: {model.name!r} made {type(network).__name__}, expected a torch.nn.Module")
    if configuration.train.freeze_encoder:
        encoder_of(network, "freeze_encoder").requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ModelError(f"model.name: {model.name!r} has no parameter that could learn")
    return network


def encoder_of(network: nn.Module, key: str) -> nn.Module:
    """The network's encoder, for the training option `key`. Raises ModelError if it has no module of that name."""
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ModelError(
            f"train.{key}: the network {type(network).__name__} has no attribute 'encoder' that is a module"
        )
    return encoder


def train_mode(network: nn.Module, *, frozen: bool, waiting: Iterable[nn.Module] = ()) -> None:
    """Training mode; a frozen encoder keeps its batch-norm statistics, and so do the parts that are not to learn
    yet."""
    network.train()
    if frozen:
        encoder_of(network, "freeze_encoder").eval()
    for part in waiting:
        part.eval()


def waiting_parts(network: nn.Module, start_epochs: Mapping[str, int], epoch: int) -> list[nn.Module]:
    """The parts of a network that do not learn in an epoch, counted from 1. Raises ModelError for a name that is no
    part of it."""
    parts = dict(network.named_children())
    for name in start_epochs:
        if name not in parts:
            raise ModelError(f"train.start_epochs: the network has no part {name!r}{known_words(name, parts)}")
    return [parts[name] for name, start in start_epochs.items() if epoch < start]


class Outputs(dict[str, Tensor]):
    """Named outputs in float32. made: as the network made them, before they were brought there: one that it computed
    from another one comes from it only there."""

    def __init__(self, made: Mapping[str, Tensor]) -> None:
        super().__init__((name, one.float() if one.is_floating_point() else one) for name, one in made.items())
        self.made = tuple(made.values())


def predict(network: nn.Module, batch: Batch) -> Outputs:
    """The network's named outputs in float32, from the batch's features where it has them and otherwise from its image,
    and from its neighbours and intrinsics if the network has the attributes `takes_neighbours` and `takes_intrinsics`.
    A bare tensor is `depth`. Raises ModelError for anything else."""
    image = batch.image
    if batch.features:
        output: Any = network.from_features(batch.features, (image.shape[-2], image.shape[-1]))  # type: ignore[operator]
    else:
        beside = None if batch.neighbours is None else batch.neighbours.image
        more = (beside,) if getattr(network, "takes_neighbours", False) else ()
        camera = {"intrinsics": batch.intrinsics} if getattr(network, "takes_intrinsics", False) else {}
        output = network(image, *more, **camera)
    if isinstance(output, Tensor):
        output = {"depth": output}
    if not isinstance(output, Mapping) or not all(isinstance(value, Tensor) for value in output.values()):
        raise ModelError(f"the network must return depth or named tensors, found {type(output).__name__}")
    return Outputs(output)


def quantised(network: nn.Module, prediction: dict[str, Tensor], bits: int) -> dict[str, Tensor]:
    """The outputs as hardware of so many bits gives them. Raises ModelError if the network cannot say."""
    method = getattr(network, "quantised", None)
    if not callable(method):
        raise ModelError(f"evaluation.bits: the network {type(network).__name__} has no method 'quantised'")
    found: dict[str, Tensor] = method(prediction, bits)
    return found


def depth_of(prediction: Mapping[str, Tensor], size: EvaluationSize) -> Tensor:
    """The predicted depth in metres, [B, 1, H, W], brought to the truth's size by bilinear interpolation; as it is
    where that is each picture's native one."""
    if "depth" not in prediction:
        raise ModelError(f"the network gives no 'depth' to evaluate; it gives {', '.join(prediction)}")
    depth = prediction["depth"]
    if depth.ndim != 4 or depth.shape[1] != 1:
        raise ModelError(f"the network's 'depth' must be [B, 1, H, W], found {list(depth.shape)}")
    return depth if size == "native" else resized(depth, size)


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [B, C, h, w] at a size, by bilinear interpolation."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return torch.nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def resized_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow [B, S, 2, h, w] at a size and in its pixels, by bilinear interpolation."""
    height, width = flow.shape[-2:]
    if (height, width) == size:
        return flow
    scale = flow.new_tensor([size[1] / width, size[0] / height])[:, None, None]
    return resized(flow.flatten(0, 1), size).reshape(*flow.shape[:3], *size) * scale
