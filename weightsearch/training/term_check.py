"""Checks of each loss term alone: it can be computed, is finite, and has a gradient at a parameter of the network."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from weightsearch.config import Configuration
from weightsearch.data.augmentation import augment
from weightsearch.data.batch import Batch
from weightsearch.data.dataset import Dataset
from weightsearch.errors import RAISED, ModelError, WeightsearchError, counted, fault_line
from weightsearch.losses.criterion import Criterion, build_criterion
from weightsearch.runtime.batches import batches
from weightsearch.runtime.network import depth_of, predict

TRIED_FRAMES: Final = 16  # training frames on which a term is tried before it is refused
SPREAD: Final = (
    0.2  # of the random factors on the network's outputs, if the term has no gradient on the outputs themselves
)


@dataclass(frozen=True)
class Response:
    """Result of a term on a batch. value: unweighted. moves: whether any parameter gets a non-zero gradient."""

    value: float
    moves: bool


def weighted_terms(configuration: Configuration) -> frozenset[str]:
    """Names of the terms with a weight above 0."""
    return frozenset(name for name, term in configuration.loss.items() if term.weight > 0)


def check_terms(
    configuration: Configuration, network: nn.Module, batch: Batch, dataset: Dataset, wanted: Collection[str]
) -> None:
    """Raise ModelError for the first of the wanted terms that raises, is not finite, or has no gradient at any
    parameter (its weight would change nothing). batch: the first batch of the dataset.

    A term may correctly be 0, without a gradient, on one batch or on constant outputs. It is tried again on other
    outputs and other frames; on noise frames a value of 0 is accepted.
    """
    criterion = _alone(configuration)
    prediction = predict(network, batch)
    if "depth" in prediction:
        depth_of(prediction, "native")  # depth of a wrong shape is an error of the network, not of a term
    for index, name in enumerate(criterion.names):
        if name not in wanted:
            continue
        response = _respond(criterion, index, network, prediction, batch)
        if response.moves:
            continue
        tried = [response, *_tried_again(criterion, index, configuration, network, batch, dataset)]
        values = [response.value for response in tried]
        if not any(response.moves for response in tried) and (any(values) or not dataset.made_up):
            raise ModelError(f"loss.{name}: {_refusal(values)}")


def _refusal(values: list[float]) -> str:
    value = next((value for value in values if value), 0.0)
    return (
        f"passes no gradient to any parameter of the network (its value is {value:.4g}), so that its weight changes "
        "nothing; compute it from the network's outputs, without detach(), item(), rounding or whole numbers, or "
        "remove the term"
    )


def _alone(configuration: Configuration) -> Criterion:
    """The criterion with all weights 1, since terms of weight 0 are omitted."""
    terms = {name: term.model_copy(update={"weight": 1.0}) for name, term in configuration.loss.items()}
    return build_criterion(configuration.model_copy(update={"loss": terms}))


def _tried_again(
    criterion: Criterion,
    index: int,
    configuration: Configuration,
    network: nn.Module,
    batch: Batch,
    dataset: Dataset,
) -> Iterator[Response]:
    """Try a term on outputs that vary between pixels, then on further frames, until it has a gradient."""
    response = _respond(criterion, index, network, _shaken(predict(network, batch)), batch)
    yield response
    if response.moves:
        return
    order = dataset.splits["train"]
    chosen = order[np.linspace(0, len(order) - 1, min(TRIED_FRAMES, len(order))).astype(np.int64)]
    for other in batches(dataset, chosen, len(batch), torch.device("cpu")):
        other = augment(other, configuration.augmentation, np.random.SeedSequence(configuration.seed))
        response = _respond(criterion, index, network, _shaken(predict(network, other)), other)
        yield response
        if response.moves:
            return


def _shaken(prediction: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Multiply outputs by random factors near 1; outputs with values of 0 or below also get a random summand."""
    generator = torch.Generator().manual_seed(0)
    outputs: dict[str, Tensor] = {}
    for name, output in prediction.items():
        if not output.is_floating_point():
            outputs[name] = output
            continue
        random = torch.randn(output.shape, generator=generator)
        shaken = output * (SPREAD * random).exp()
        if bool((output <= 0).any()):
            shaken = shaken + SPREAD * random * output.detach().abs().mean().clamp(min=1e-3)
        outputs[name] = shaken
    return outputs


def _respond(
    criterion: Criterion, index: int, network: nn.Module, prediction: Mapping[str, Tensor], batch: Batch
) -> Response:
    name = criterion.names[index]
    try:
        value = criterion.value(index, prediction, batch)
        number = float(value.detach())
        if not math.isfinite(number):
            raise ModelError(
                f"loss.{name}: is {number} on a first batch of {counted(len(batch), 'frame')}; its value must be finite"
            )
        return Response(number, _moves(value, network))
    except WeightsearchError:
        raise
    except RAISED as error:  # raised by a user's term
        raise ModelError(
            f"loss.{name}: a first batch of {counted(len(batch), 'frame')} failed: {fault_line(error)}"
        ) from error


def _moves(value: Tensor, network: nn.Module) -> bool:
    """Return True if a scalar has a non-zero gradient at any parameter. Parameters' `grad` is None before and after."""
    if not value.requires_grad:
        return False
    value.backward(retain_graph=True)  # type: ignore[no-untyped-call] # grad() does not support checkpointed parts
    gradients: list[Any] = [parameter.grad for parameter in network.parameters()]
    moved = any(gradient is not None and bool(gradient.any()) for gradient in gradients)
    network.zero_grad(set_to_none=True)
    return moved
