"""The weighted sum of loss terms, and what each of them adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.errors import ModelError, OptionError
from weightsearch.losses.term import LossTerm, Prediction
from weightsearch.plugins import build, resolve
from weightsearch.spec.sections import Configuration
from weightsearch.user_code import PASSED_ON, at, check_callable, described


@dataclass(frozen=True)
class CriterionResult:
    """total: the weighted sum, a scalar to go backward from. values: the unweighted terms, [K], detached.
    output_gradients: norms of each weighted term's gradient at the network's outputs, [K]; they are filled in by the
    backward pass, as multiples of the factor it starts from, and 0 before it and for terms of weight 0. weighted: the
    weighted terms, None for those of weight 0. outputs: the network's outputs that have a gradient, each once, in the
    precision in which it made them."""

    total: Tensor
    values: Tensor
    output_gradients: Tensor
    weighted: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]


class Criterion(nn.Module):
    """sum_k weights[k] * terms[k](prediction, batch).

    Every term gets its own view of the network's outputs, so that one backward pass shows each term's own gradient
    there at no further cost. masks: what terms find among the outputs beside them, without a gradient. Raises
    ModelError if a term asks for an output that the network does not give.
    """

    def __init__(self, terms: Mapping[str, LossTerm], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.names = tuple(terms)
        self.terms: tuple[Any, ...] = tuple(terms.values())
        self.modules_of_terms = nn.ModuleList(term for term in self.terms if isinstance(term, nn.Module))
        self.weights = tuple(float(weights[name]) for name in self.names)

    def forward(
        self, prediction: Prediction, batch: Batch, masks: Mapping[str, Tensor] = MappingProxyType({})
    ) -> CriterionResult:
        weighted: list[Tensor | None] = []
        values: list[Tensor] = []
        first = next(iter(prediction.values()))
        gradients = torch.zeros(len(self.names), device=first.device)
        for index, weight in enumerate(self.weights):
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                outputs = self._outputs(prediction, gradients, index)
                outputs.update(masks)
                value = self._value(index, outputs, batch)
            values.append(value.detach())
            weighted.append(weight * value if weight > 0 else None)  # leaves a term out, even one that is not finite
        used = [value for value in weighted if value is not None]
        if not used:
            raise ModelError("loss: every weight is 0; nothing can be learned")
        made = getattr(prediction, "made", prediction.values())
        learning = tuple({id(output): output for output in made if output.requires_grad}.values())
        total = sum(used[1:], start=used[0])
        return CriterionResult(total, torch.stack(values), gradients, tuple(weighted), learning)

    def _value(self, index: int, outputs: _Outputs, batch: Batch) -> Tensor:
        try:
            value = self.terms[index](outputs, batch)
        except OptionError as error:
            raise ModelError(f"loss.{outputs.term}.{error.option}: {error.message}") from None
        except PASSED_ON:
            raise
        except Exception as error:  # a user's term may raise anything
            text = described(error, self.terms[index])
            raise ModelError(f"loss.{outputs.term}: {text}{_other_sizes(outputs, batch)}") from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            found = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ModelError(
                f"loss.{outputs.term}: a term must return a scalar tensor, found {found}{at(self.terms[index])}"
            )
        return value.reshape(()).float()

    def _outputs(self, prediction: Prediction, gradients: Tensor, index: int) -> _Outputs:
        """The network's outputs as one term sees them: what flows back through them is that term's gradient alone."""
        outputs = _Outputs(self.names[index], prediction)

        def note(gradient: Tensor) -> None:
            gradients[index] = torch.hypot(gradients[index], torch.linalg.vector_norm(gradient.detach()).float())

        if torch.is_grad_enabled():
            for name, output in prediction.items():
                if output.requires_grad:
                    outputs[name] = output.view_as(output)
                    outputs[name].register_hook(note)  # type: ignore[no-untyped-call]
        return outputs


def _other_sizes(outputs: Prediction, batch: Batch) -> str:
    """The sizes of a network's depth and of the true one, to end a message, where they differ."""
    depth = outputs.get("depth")
    if depth is None or depth.shape == batch.depth.shape:
        return ""
    return f"; the network's 'depth' is {list(depth.shape)}, the true depth {list(batch.depth.shape)}"


class _Outputs(dict[str, Tensor]):
    """Named outputs that say which term asked for one that is not there."""

    def __init__(self, term: str, prediction: Prediction) -> None:
        super().__init__(prediction)
        self.term = term

    def __missing__(self, key: str) -> Tensor:
        raise ModelError(f"loss.{self.term}: needs the network's output {key!r}; it gives {', '.join(self)}")


def build_criterion(configuration: Configuration) -> Criterion:
    """The criterion of a configuration. Raises ModelError for an option that a term refuses."""
    terms: dict[str, LossTerm] = {}
    for name, term in configuration.loss.items():
        try:
            terms[name] = build("loss", term.term or name, term.options, configuration.loss_context)
        except OptionError as error:
            raise ModelError(f"loss.{name}.{error.option}: {error.message}") from None
        except PASSED_ON:
            raise
        except Exception as error:  # a user's constructor may raise anything
            made = resolve("loss", term.term or name)
            raise ModelError(f"loss.{name}: cannot be made: {described(error, made)}") from error
        check_callable(f"loss.{name}", terms[name], ("prediction", "batch"))
    return Criterion(terms, {name: term.weight for name, term in configuration.loss.items()})
