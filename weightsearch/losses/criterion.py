"""The weighted sum of loss terms, and what each of them adds to it."""

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
from weightsearch.plugins import attribute, build, resolve
from weightsearch.user_code import PASSED_ON, at, check_callable, described


@dataclass(frozen=True)
class CriterionResult:
    """total: the weighted sum, a scalar to go backward from. values: the unweighted terms, [K], detached.
    output_gradients: norms of each weighted term's gradient at the network's outputs, [K]; they are filled in by the
    backward pass, as multiples of the factor it starts from, and 0 before it and for terms of weight 0. weighted: the
    weighted terms, None for those of weight 0. outputs: the network's outputs that have a gradient, each once, in the
    precision in which it made them. heads: the terms' gradients at the heads, if heads are not the same as
    outputs. heads_known: whether heads are defined. empty: bool, [K], the terms whose masked means had no pixel: their
    value means nothing; False for terms without a masked mean."""

    total: Tensor
    values: Tensor
    output_gradients: Tensor
    weighted: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    empty: Tensor
    heads: HeadGradients | None = None
    heads_known: bool = False

    @property
    def head_gradients(self) -> Tensor | None:
        """As output_gradients, at the heads: outputs that are not computed from other outputs. None where heads are
        not defined or not measured."""
        if self.heads is None:
            return self.output_gradients if self.heads_known else None
        return None if self.heads.failed else self.heads.norms(self.output_gradients)

    def forget(self) -> None:
        """Begin the gradients anew, after a backward pass that was not the training's own."""
        self.output_gradients.zero_()
        if self.heads is not None:
            self.heads.forget()


class Criterion(nn.Module):
    """sum_k weights[k] * terms[k](prediction, batch).

    Every term gets its own view of the network's outputs, so that one backward pass shows each term's own gradient
    there at no further cost. masks: what terms find among the outputs beside them, without a gradient. Raises
    ModelError if a term asks for an output that the network does not give. at_heads: whether each term's gradient is
    also measured at the heads, see losses/heads.py.
    """

    def __init__(self, terms: Mapping[str, LossTerm], weights: Mapping[str, float], *, at_heads: bool = False) -> None:
        super().__init__()
        self.names = tuple(terms)
        self.terms: tuple[Any, ...] = tuple(terms.values())
        self.modules_of_terms = nn.ModuleList(term for term in self.terms if isinstance(term, nn.Module))
        self.weights = tuple(float(weights[name]) for name in self.names)
        self.at_heads = at_heads
        self._heads: dict[tuple[bool, ...], list[int]] = {}  # by which outputs have a gradient

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
        places = self._head_places(made, learning)
        heads = HeadGradients(len(self.names), [learning[place] for place in places])
        derived = 0 < len(places) < len(learning)
        for index, weight in enumerate(self.weights):
            with torch.set_grad_enabled(torch.is_grad_enabled() and weight > 0):
                outputs = self._outputs(prediction, gradients, index, heads if derived else None)
                outputs.update(masks)
                with counted_pixels() as counts:
                    value = self._value(index, outputs, batch)
            empty.append(torch.stack(counts).sum() == 0 if counts else torch.zeros((), device=first.device).bool())
            values.append(value.detach())
            weighted.append(weight * value if weight > 0 else None)  # leaves a term out, even one that is not finite
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
            bool(places),
        )

    def _head_places(self, made: Sequence[Tensor], learning: Sequence[Tensor]) -> list[int]:
        """Where the heads are among the outputs that have a gradient; empty where they are not defined, or not asked
        for."""
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
        """One unweighted term by itself, a scalar. Raises ModelError as `forward` does."""
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
            found = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ModelError(
                f"loss.{outputs.term}: a term must return a scalar tensor, found {found}{at(self.terms[index])}"
            )
        return value.reshape(()).float()

    def _outputs(self, prediction: Prediction, gradients: Tensor, index: int, heads: HeadGradients | None) -> _Outputs:
        """The network's outputs as one term sees them: what flows back through them is that term's gradient alone."""
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
        self.network = getattr(prediction, "network", None)

    def __missing__(self, key: str) -> Tensor:
        where = "" if self.network is None else at(self.network)
        raise ModelError(f"loss.{self.term}: needs the network's output {key!r}; it gives {', '.join(self)}{where}")


def build_masking(configuration: Configuration) -> Masking | None:
    """The masks of a configuration's `rebalance` section; None without one."""
    return None if configuration.rebalance is None else Rebalancing(configuration.rebalance)


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
        except RAISED as error:
            made = resolve("loss", term.term or name)
            raise ModelError(f"loss.{name}: cannot be made: {described(error, made)}") from error
        check_callable(f"loss.{name}", terms[name], ("prediction", "batch"))
    weights = {name: term.weight for name, term in configuration.loss.items()}
    return Criterion(terms, weights, at_heads=_one_unit(configuration))


def _one_unit(configuration: Configuration) -> bool:
    """True if a network's heads have the same unit, so that gradients at different heads can be compared. A network
    that sees neighbouring frames may predict depth, camera motion in radians and flow in pixels, unless its attribute
    `one_unit` says otherwise."""
    one_unit = attribute("model", configuration.model.name, "one_unit", default=False)
    return not configuration.data.neighbours or bool(one_unit)
