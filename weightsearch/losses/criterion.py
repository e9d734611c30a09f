"""The weighted sum of loss terms, and the contribution of each term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from weightsearch.config.schema import Configuration
from weightsearch.data.batch import Batch
from weightsearch.errors import RAISED, ModelError, OptionError
from weightsearch.losses.heads import HeadGradients, heads_among
from weightsearch.losses.masked import counted_pixels
from weightsearch.losses.pixel_masks import Masking
from weightsearch.losses.rebalancing import Rebalancing
from weightsearch.losses.term import LossTerm, Prediction
from weightsearch.plugins import attribute, build_plug_in
from weightsearch.user_code import PASSED_ON, at, check_callable, described


@dataclass(frozen=True)
class CriterionResult:
    """The result of a criterion. total: the weighted sum, a scalar with a gradient. values: the unweighted terms, [K],
    detached. output_gradients: norm of each weighted term's gradient at the network's outputs, [K]; filled in by the
    backward pass, as multiples of its initial factor; 0 before it and for terms of weight 0. weighted: the weighted
    terms, None for terms of weight 0. outputs: the network's outputs that have a gradient, each once, in the network's
    precision. heads: the terms' gradients at the heads, if these are not the outputs themselves. heads_measured:
    whether gradients at the heads are measured. empty: mask of the terms whose masked means had no pixel, so that their
    value has no meaning, [K] bool; False for terms without a masked mean."""

    total: Tensor
    values: Tensor
    output_gradients: Tensor
    weighted: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    empty: Tensor
    heads: HeadGradients | None = None
    heads_measured: bool = False

    @property
    def head_gradients(self) -> Tensor | None:
        """As output_gradients, but at the heads: the outputs that are not computed from other outputs. None if heads
        are not defined or not measured."""
        if self.heads is None:
            return self.output_gradients if self.heads_measured else None
        return None if self.heads.failed else self.heads.norms(self.output_gradients)

    def forget(self) -> None:
        """Reset the gradients, after a backward pass that does not belong to the training."""
        self.output_gradients.zero_()
        if self.heads is not None:
            self.heads.forget()


class Criterion(nn.Module):
    """sum_k weights[k] * terms[k](prediction, batch).

    Every term gets its own view of the network's outputs, so that one backward pass measures each term's gradient there
    at no further cost. masks: tensors without a gradient that terms find beside the network's outputs. at_heads:
    whether each term's gradient is also measured at the heads, see losses/heads.py. Raises ModelError if a term needs
    an output that the network does not have.
    """

    def __init__(self, terms: Mapping[str, LossTerm], weights: Mapping[str, float], *, at_heads: bool = False) -> None:
        super().__init__()
        self.names = tuple(terms)
        self.terms: tuple[Any, ...] = tuple(terms.values())
        self.modules_of_terms = nn.ModuleList(term for term in self.terms if isinstance(term, nn.Module))
        self.weights = tuple(float(weights[name]) for name in self.names)
        self.at_heads = at_heads
        self._heads: dict[tuple[bool, ...], list[int]] = {}  # outputs that have a gradient -> indices of the heads

    def forward(
        self, prediction: Prediction, batch: Batch, masks: Mapping[str, Tensor] = MappingProxyType({})
    ) -> CriterionResult:
        weighted: list[Tensor | None] = []
        values: list[Tensor] = []
        empty: list[Tensor] = []
        first = next(iter(prediction.values()))
        gradients = torch.zeros(len(self.names), device=first.device)
        made = tuple(getattr(prediction, "made", prediction.values()))
        learning = tuple({id(output): output for output in made if output.requires_grad}.values())
        head_indices = self._head_indices(made, learning)
        heads = HeadGradients(len(self.names), [learning[position] for position in head_indices])
        derived = 0 < len(head_indices) < len(learning)
        for index, weight in enumerate(self.weights):
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                outputs = self._outputs(prediction, gradients, index, heads if derived else None)
                outputs.update(masks)
                with counted_pixels() as counts:
                    value = self._value(index, outputs, batch)
            empty.append(torch.stack(counts).sum() == 0 if counts else torch.zeros((), device=first.device).bool())
            values.append(value.detach())
            weighted.append(weight * value if weight > 0 else None)  # 0 leaves a term out, even if it is not finite
        used = [value for value in weighted if value is not None]
        if not used:
            raise ModelError("loss: every weight is 0; nothing can be learned")
        total = sum(used[1:], start=used[0])
        return CriterionResult(
            total,
            torch.stack(values),
            gradients,
            tuple(weighted),
            learning,
            torch.stack(empty),
            heads if derived else None,
            bool(head_indices),
        )

    def _head_indices(self, made: Sequence[Tensor], learning: Sequence[Tensor]) -> list[int]:
        """Indices of the heads among the outputs that have a gradient; empty if heads are not defined or not
        measured."""
        if not self.at_heads or not torch.is_grad_enabled() or not learning:
            return []
        kind = tuple(output.requires_grad for output in made)
        if kind not in self._heads:
            try:
                self._heads[kind] = heads_among(learning)
            except Exception:  # a network that cannot go backward twice
                self._heads[kind] = []
        return self._heads[kind]

    def value(self, index: int, prediction: Prediction, batch: Batch) -> Tensor:
        """Compute a single unweighted term, a scalar. Raises ModelError as `forward` does."""
        return self._value(index, _Outputs(self.names[index], prediction), batch)

    def _value(self, index: int, outputs: _Outputs, batch: Batch) -> Tensor:
        try:
            value = self.terms[index](outputs, batch)
        except OptionError as error:
            raise ModelError(f"loss.{outputs.term}.{error.option}: {error.message}") from None
        except PASSED_ON:
            raise
        except RAISED as error:
            text = described(error, self.terms[index])
            raise ModelError(f"loss.{outputs.term}: {text}{_other_sizes(outputs, batch)}") from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            returned = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ModelError(
                f"loss.{outputs.term}: a term must return a scalar tensor, found {returned}{at(self.terms[index])}"
            )
        return value.reshape(()).float()

    def _outputs(self, prediction: Prediction, gradients: Tensor, index: int, heads: HeadGradients | None) -> _Outputs:
        """The network's outputs for a single term: only that term's gradient flows back through them."""
        outputs = _Outputs(self.names[index], prediction)

        def note(gradient: Tensor, output: Tensor) -> None:
            gradients[index] = torch.hypot(gradients[index], torch.linalg.vector_norm(gradient.detach()).float())
            if heads is not None:
                heads.add(index, output, gradient.detach())

        if torch.is_grad_enabled():
            for name, output in prediction.items():
                if output.requires_grad:
                    outputs[name] = output.view_as(output)
                    outputs[name].register_hook(partial(note, output=output))  # type: ignore[no-untyped-call]
        return outputs


def _other_sizes(outputs: Prediction, batch: Batch) -> str:
    """The sizes of predicted and true depth as the end of a message; empty if they are equal."""
    depth = outputs.get("depth")
    if depth is None or depth.shape == batch.depth.shape:
        return ""
    return f"; the network's 'depth' is {list(depth.shape)}, the true depth {list(batch.depth.shape)}"


class _Outputs(dict[str, Tensor]):
    """Named outputs; the error for a missing output names the term that needs it."""

    def __init__(self, term: str, prediction: Prediction) -> None:
        super().__init__(prediction)
        self.term = term
        self.network = getattr(prediction, "network", None)

    def __missing__(self, key: str) -> Tensor:
        where = "" if self.network is None else at(self.network)
        raise ModelError(f"loss.{self.term}: needs the network's output {key!r}; it gives {', '.join(self)}{where}")


def build_masking(configuration: Configuration) -> Masking | None:
    """The masks of a configuration's `rebalance` section; None without one."""
    return None if configuration.rebalance is None else Rebalancing(configuration.rebalance)


def build_criterion(configuration: Configuration) -> Criterion:
    """The criterion of a configuration. Raises ModelError for an option that a term rejects."""
    terms: dict[str, LossTerm] = {}
    for name, term in configuration.loss.items():
        context = configuration.loss_context
        terms[name] = build_plug_in("loss", term.term or name, term.options, context, f"loss.{name}", ModelError)
        check_callable(f"loss.{name}", terms[name], ("prediction", "batch"))
    weights = {name: term.weight for name, term in configuration.loss.items()}
    return Criterion(terms, weights, at_heads=_has_one_unit(configuration))


def _has_one_unit(configuration: Configuration) -> bool:
    """True if a network's heads have the same unit, so that gradients at different heads can be compared. A network
    with neighbouring frames may predict depth, camera motion in radians and flow in pixels, unless its attribute
    `one_unit` is true."""
    one_unit = attribute("model", configuration.model.name, "one_unit", default=False)
    return not configuration.data.neighbours or bool(one_unit)
