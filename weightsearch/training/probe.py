"""Probes: gradients of single terms at the heads and at the shared parameters, without effect on the training."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weightsearch.errors import ModelError, fault_line
from weightsearch.losses.criterion import Criterion, CriterionResult
from weightsearch.losses.heads import gradients_of, heads_among
from weightsearch.records import HEADS, SHARED, Group, Measurements, joined
from weightsearch.training.measures.terms import GRADIENT

BACKWARD: Final = 1.0  # assumed cost of a backward pass in steps, until the first probe is measured

PROBE: Final = Group("probe", ("quantity",), "probes: steps with a probe. seconds: that they took")
COSINE: Final = Group(
    "cosine",
    ("place", "term", "other"),
    "Cosine between two weighted terms' gradients at a place, `heads` or `shared`: the mean over the epoch's probes. A "
    "pair without a gradient has no row",
)
GROUPS: Final = (PROBE, COSINE)

Clock = Callable[[], float]


@dataclass
class Account:
    """Allowed and actual cost of probes, over all trainings of a process. budget: share of the time without probes.

    A probe is due when the time so far pays for its estimated cost: the sum stays within the budget up to the error of
    the estimate, even if trials are pruned after one epoch. seconds: time of completed epochs, including probes. steps:
    steps of completed epochs. spent: time of probes. cost: time of the last probe, None before the first."""

    budget: float
    seconds: float = 0.0
    steps: int = 0
    spent: float = 0.0
    cost: float | None = None

    def affords(self, seconds: float, steps: int, backwards: int) -> bool:
        """Return True if a probe may begin after these seconds and steps of an epoch. backwards: number of backward
        passes of the probe, for an estimate of the first probe's cost."""
        seconds, steps = self.seconds + seconds, self.steps + steps
        if not self.budget or not steps:
            return False
        expected = BACKWARD * backwards * (seconds - self.spent) / steps if self.cost is None else self.cost
        return self.spent + expected <= self.budget * (seconds - self.spent)


class Probe:
    """Measures the gradients of single terms on the batch of a training step, between its forward and backward pass.

    The gradient of each weighted term is computed at the heads, by a pass through the loss, and at the shared
    parameters, by a pass through loss and network. One term needs no pass at the parameters: its gradient is the step's
    gradient minus the gradients of the other terms (in the first epoch with a probe, every term has a pass). The
    forward pass is not repeated; random states and buffers are restored; an error ends the probing, not the training.
    A GPU is never waited for. Gradients of the single terms are held until the step's gradient is computed. Hooks of
    parameters see the additional passes.

    Heads: outputs that are not computed from other outputs. Gradients at other outputs, such as the depth computed from
    two heads, are propagated to the heads. Heads are not measured if they are not defined (an output computed from
    other outputs and from something else, or outputs of one compiled function) or have several units. Shared
    parameters: parameters with a gradient of every term (of weight above 0); without any, parameters with a gradient
    of at least two terms.
    """

    def __init__(
        self, network: nn.Module, parameters: Sequence[Tensor], criterion: Criterion, account: Account, clock: Clock
    ) -> None:
        self.network = network
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.learning = [True] * len(self.parameters)
        self.names = criterion.names
        self.at_heads = criterion.at_heads
        self.account = account
        self.clock = clock
        self.device = self.parameters[0].device
        self.heads: list[int] | None = None  # indices of the heads among the outputs, None before the first probe
        self.reached: NDArray[np.bool_] | None = None  # [P, K]: whether a parameter has had a gradient of a term so far
        self.left_out: int | None = None  # the term whose gradient is computed from the step's gradient
        self.problem: str | None = None
        self.timing: _Timing | None = None  # timing of a probe whose cost is not known yet
        self.samples: list[_Sample] = []
        self.seconds = 0.0
        self.started = 0.0

    def begin(self) -> None:
        """Begin an epoch. If other parameters learn than before, discard the heads and the reached parameters."""
        learning = [parameter.requires_grad for parameter in self.parameters]
        if learning != self.learning:
            self.learning, self.heads, self.reached, self.left_out = learning, None, None, None
        self.started = self.clock()
        self.samples, self.seconds = [], 0.0

    def due(self, result: CriterionResult, step: int) -> bool:
        """Return True if this batch must be measured. step: of the epoch, from 0."""
        terms = len(_active(result))
        if (
            self.problem is not None or not self.account.budget or terms < 2
        ):  # a single term has nothing to be compared with
            return False
        self._book(wait=False)
        if self.timing is not None:
            return False
        backwards = terms - (self.left_out is not None)
        return self.account.affords(self.clock() - self.started, step, backwards)

    def measure(self, result: CriterionResult, scale: Tensor | None) -> None:
        """Measure before the step's backward pass. scale: loss scale of that pass under fp16, else None."""
        self.timing = _Timing(self.clock, self.device)
        sample = _Sample(scale)
        try:
            with _undisturbed(self.network, self.device):
                self._measure(result, sample)
            self.samples.append(sample)
        except Exception as error:  # a network or term without a second backward pass, or out of memory
            self.problem = fault_line(error)
        result.forget()  # its hooks have recorded these passes
        self.timing.pause()

    def finish(self) -> None:
        """Complete the probe after the step's backward pass, before its gradients are changed."""
        if self.timing is None or self.timing.ended:
            return
        self.timing.resume()
        if self.problem is None:
            try:
                self._finish(self.samples[-1])
            except Exception as error:
                self.problem = fault_line(error)
                self.samples.pop()
        self.timing.end()
        self._book(wait=False)

    def end(self, steps: int) -> Measurements:
        """End an epoch. Returns its rows by group, empty without a probe. Waits for the device."""
        self._book(wait=True)
        self.account.seconds += self.clock() - self.started
        self.account.steps += steps
        if not self.samples and self.problem is None:
            return {}
        rows = {PROBE.name: {"probes": float(len(self.samples)), "seconds": self.seconds}}
        rows |= {GRADIENT.name: {}, COSINE.name: {}}
        if at_heads := self._finite([sample.heads for sample in self.samples]):
            self._add_rows(rows, HEADS, at_heads)
        if products := self._finite([sample.products for sample in self.samples]):
            before = [] if self.reached is None else [self.reached]
            reached = np.stack([*before, *(product.diagonal(dim1=1, dim2=2).numpy() > 0 for product in products)]).any(
                axis=0
            )
            self.reached = np.asarray(reached)
            if len(shared := _shared(self.reached)):
                norms = self._add_rows(rows, SHARED, [product[shared].sum(dim=0) for product in products])
                self.left_out = norms.index(max(norms))  # a difference of large values has a small relative error
        return rows

    @staticmethod
    def _finite(products: Sequence[Tensor | None]) -> list[Tensor]:
        """Products that were measured and are finite, on the CPU."""
        here = [product.cpu() for product in products if product is not None]
        return [product for product in here if bool(torch.isfinite(product).all())]

    def _measure(self, result: CriterionResult, sample: _Sample) -> None:
        active = _active(result)
        if not active:
            return
        if not self._has_room(len(active)):
            raise MemoryError("no memory on the GPU for the gradients of single terms")
        terms = {index: term if sample.scale is None else term * sample.scale for index, term in active.items()}
        if self.heads is None:
            self.heads = heads_among(result.outputs) if self.at_heads else []
        if self.heads:
            heads = [result.outputs[head] for head in self.heads]
            at_heads = {index: gradients_of(term, heads) for index, term in terms.items()}
            rows = [at_heads.get(index) for index in range(len(self.names))]
            sample.heads = _unscaled(_products(rows, heads).sum(dim=0), sample.scale)
        sample.left_out = self.left_out if self.left_out in active else None
        for index, term in terms.items():
            if index != sample.left_out:
                sample.gradients[index] = gradients_of(term, self.parameters)

    def _has_room(self, terms: int) -> bool:
        """Return True if the gradients of the terms fit in the GPU memory beside the step's own needs: probes must not
        end a training by a lack of memory."""
        if self.device.type != "cuda":
            return True
        free, _ = torch.cuda.mem_get_info(self.device)
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return free > 2 * terms * sum(parameter.numel() * parameter.element_size() for parameter in self.parameters)

    def _finish(self, sample: _Sample) -> None:
        """Compute the gradient of the term that was left out, then all products."""
        if sample.left_out is not None and self.reached is not None:
            rest: list[Tensor | None] = []
            for position, parameter in enumerate(self.parameters):
                left = parameter.grad if self.reached[position, sample.left_out] else None
                for row in sample.gradients.values():
                    other = row[position]
                    left = left if left is None or other is None else left - other
                rest.append(left)
            sample.gradients[sample.left_out] = rest
        elif any(
            parameter.grad is not None and all(row[position] is None for row in sample.gradients.values())
            for position, parameter in enumerate(self.parameters)
        ):
            raise ModelError("gradients of single terms cannot be measured: the network uses reentrant checkpointing")
        rows = [sample.gradients.get(index) for index in range(len(self.names))]
        sample.products = _unscaled(_products(rows, self.parameters), sample.scale)
        sample.gradients.clear()

    def _add_rows(self, rows: dict[str, dict[str, float]], where: str, grams: Sequence[Tensor]) -> list[float]:
        """Add mean norms and cosines over the epoch's probes. where: `heads` or `shared`. Returns the norms."""
        norms = torch.stack([gram.diagonal().clamp(min=0).sqrt() for gram in grams])
        cosines = torch.stack([gram / (n[:, None] * n[None, :]) for gram, n in zip(grams, norms, strict=True)])
        means: list[float] = norms.mean(0).tolist()
        between: list[list[float]] = cosines.nanmean(0).clamp(-1, 1).tolist()
        rows[GRADIENT.name] |= {joined(where, name): norm for name, norm in zip(self.names, means, strict=True)}
        rows[COSINE.name] |= {
            joined(where, self.names[i], self.names[j]): between[i][j]
            for i in range(len(self.names))
            for j in range(i + 1, len(self.names))
            if math.isfinite(between[i][j])
        }
        return means

    def _book(self, *, wait: bool) -> None:
        """Book the cost of the last probe, if it is known."""
        if self.timing is not None and self.timing.ended and (seconds := self.timing.seconds(wait=wait)) is not None:
            self.timing = None
            self.account.spent += seconds
            self.account.cost = seconds
            self.seconds += seconds


@dataclass
class _Sample:
    """Results of a probe. heads: inner products of the terms' gradients at the heads, [K, K]. products: inner products
    at each parameter, [P, K, K]. gradients: term -> its gradients at the parameters, until the products are
    computed."""

    scale: Tensor | None
    left_out: int | None = None
    gradients: dict[int, list[Tensor | None]] = field(default_factory=dict)
    heads: Tensor | None = None
    products: Tensor | None = None


def _active(result: CriterionResult) -> dict[int, Tensor]:
    """Index -> weighted term, of the terms with a gradient."""
    return {index: term for index, term in enumerate(result.weighted) if term is not None and term.requires_grad}


def _shared(reached: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices of the parameters that have a gradient of every term or, without any, of at least two terms. reached:
    [P, K]; terms without a gradient anywhere are ignored."""
    counts = reached.sum(axis=1)
    everywhere = np.flatnonzero(counts == reached.any(axis=0).sum())
    return everywhere if len(everywhere) else np.flatnonzero(counts > 1)


def _products(rows: Sequence[Sequence[Tensor | None] | None], like: Sequence[Tensor]) -> Tensor:
    """Inner products of the terms' gradients at each tensor: float64, [number of tensors, K, K]. rows: gradients of
    each term by tensor, None for 0. like: the tensors."""
    products: list[Tensor] = []
    for position, tensor in enumerate(like):
        zero = torch.zeros_like(tensor)
        parts = [zero if row is None or row[position] is None else row[position] for row in rows]
        stack = torch.stack([part.detach().reshape(-1) for part in parts if part is not None]).double()
        products.append(stack @ stack.T)
    return torch.stack(products)


def _unscaled(products: Tensor, scale: Tensor | None) -> Tensor:
    return products if scale is None else products / scale.double() ** 2


@contextmanager
def _undisturbed(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore random states and buffers: a backward pass may change them (gradient checkpointing does)."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - users' code uses it
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in network.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu, device)
        for module, name, buffer, before in buffers:
            buffer.data.copy_(before)  # `data`: autograd does not detect the change, and the saved values are the same
            module._buffers[name] = buffer  # it may have been replaced


class _Timing:
    """Timer of work on a device, in two parts, without waiting for the device."""

    def __init__(self, clock: Clock, device: torch.device) -> None:
        self.clock = clock
        self.on_gpu = device.type == "cuda"
        self.device = device
        self.marks: list[Any] = []
        self._mark()

    @property
    def ended(self) -> bool:
        return len(self.marks) == 4

    def pause(self) -> None:
        self._mark()

    def resume(self) -> None:
        self._mark()

    def end(self) -> None:
        self._mark()

    def seconds(self, *, wait: bool) -> float | None:
        """Seconds of both parts; None if the device has not finished and `wait` is False."""
        if not self.on_gpu:
            return float(self.marks[1] - self.marks[0] + self.marks[3] - self.marks[2])
        last = self.marks[3]
        if wait:
            last.synchronize()
        elif not last.query():
            return None
        return float(self.marks[0].elapsed_time(self.marks[1]) + self.marks[2].elapsed_time(last)) / 1000

    def _mark(self) -> None:
        if self.on_gpu:
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self.device))
            self.marks.append(event)
        else:
            self.marks.append(self.clock())
