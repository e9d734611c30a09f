"""Each term's own gradient at the outputs and at the shared parameters, beside a training that it leaves as it is."""

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

BACKWARD: Final = 1.0  # steps that a backward pass takes at most, for want of better until the first probe

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
    """The allowed and the actual cost of probes, over all trainings of a process. budget: the share of the other time.

    A probe is due once the time so far has paid for it: so that the cost is never above the budget, not even where
    trials are pruned after an epoch. seconds: of epochs that are over, probes included; spent: of probes. cost: of the
    last probe, if there was one.
    """

    budget: float
    seconds: float = 0.0
    steps: int = 0
    spent: float = 0.0
    cost: float | None = None

    def affords(self, seconds: float, steps: int, backwards: int) -> bool:
        """True if a probe may begin after these seconds and steps of an epoch. backwards: passes through the network
        that it takes, by which the first one's cost is guessed."""
        seconds, steps = self.seconds + seconds, self.steps + steps
        if not self.budget or not steps:
            return False
        expected = BACKWARD * backwards * (seconds - self.spent) / steps if self.cost is None else self.cost
        return self.spent + expected <= self.budget * (seconds - self.spent)


class Probe:
    """Measures on the batch of a training step, between its forward and its backward pass.

    The gradient of each weighted term is taken at the heads, which costs a pass through the loss, and at the shared
    parameters: a pass through loss and network for each term but one, whose gradient is what the others leave of the
    step's own (in the first epoch with a probe for each term). Nothing is computed forward again; random states and
    buffers are put back; a fault ends the probing, not the training. On a GPU nothing waits for it. It holds the
    gradients of all terms but one until the step's own is there, and a parameter's own hooks see its passes.

    Heads: the outputs that are not computed from other outputs. What a term sends into an output that is, such as the
    depth that two heads make, counts where it arrives. They are left out where that is not defined (an output computed
    from others and from something else, or outputs of one compiled function) and where heads have several units. Shared
    parameters: those that every term (of weight above 0) reaches; where there are none, those that at least two reach.
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
        self.heads: list[int] | None = None  # their places among the outputs, once they were seen
        self.reached: NDArray[np.bool_] | None = None  # [P, K]: parameters that a term has reached so far
        self.left_out: int | None = None  # the term whose gradient is taken from the step's own
        self.problem: str | None = None
        self.timing: _Timing | None = None  # of a probe whose cost is not known yet
        self.found: list[_Found] = []
        self.seconds = 0.0
        self.started = 0.0

    def begin(self) -> None:
        """An epoch begins. Where other parameters learn than before, what was seen of the network no longer holds."""
        learning = [parameter.requires_grad for parameter in self.parameters]
        if learning != self.learning:
            self.learning, self.heads, self.reached, self.left_out = learning, None, None, None
        self.started = self.clock()
        self.found, self.seconds = [], 0.0

    def due(self, result: CriterionResult, step: int) -> bool:
        """True if this batch is to be measured. step: of the epoch, from 0."""
        terms = len(_active(result))
        if self.problem is not None or not self.account.budget or terms < 2:  # one alone has nothing beside it
            return False
        self._book(wait=False)
        if self.timing is not None:
            return False
        backwards = terms - (self.left_out is not None)
        return self.account.affords(self.clock() - self.started, step, backwards)

    def measure(self, result: CriterionResult, scale: Tensor | None) -> None:
        """Before the step's backward pass. scale: the factor that it will start from, under fp16."""
        self.timing = _Timing(self.clock, self.device)
        found = _Found(scale)
        try:
            with _undisturbed(self.network, self.device):
                self._measure(result, found)
            self.found.append(found)
        except Exception as error:  # a network or a term that cannot go backward twice, or no memory for it
            self.problem = fault_line(error)
        result.forget()  # its hooks have seen these passes
        self.timing.pause()

    def finish(self) -> None:
        """After the step's backward pass, before anything is done with its gradients."""
        if self.timing is None or self.timing.ended:
            return
        self.timing.resume()
        if self.problem is None:
            try:
                self._finish(self.found[-1])
            except Exception as error:
                self.problem = fault_line(error)
                self.found.pop()
        self.timing.end()
        self._book(wait=False)

    def end(self, steps: int) -> Measurements:
        """The rows of an epoch that is over, by group; empty without a probe. Waits for the device."""
        self._book(wait=True)
        self.account.seconds += self.clock() - self.started
        self.account.steps += steps
        if not self.found and self.problem is None:
            return {}
        rows = {PROBE.name: {"probes": float(len(self.found)), "seconds": self.seconds}}
        rows |= {GRADIENT.name: {}, COSINE.name: {}}
        if at_heads := self._kept([found.heads for found in self.found]):
            self._add_rows(rows, HEADS, at_heads)
        if products := self._kept([found.products for found in self.found]):
            known = [] if self.reached is None else [self.reached]
            reached = np.stack([*known, *(one.diagonal(dim1=1, dim2=2).numpy() > 0 for one in products)]).any(axis=0)
            self.reached = np.asarray(reached)
            if len(shared := _shared(self.reached)):
                norms = self._add_rows(rows, SHARED, [one[shared].sum(dim=0) for one in products])
                self.left_out = norms.index(max(norms))  # what is left of much is exact
        return rows

    @staticmethod
    def _kept(products: Sequence[Tensor | None]) -> list[Tensor]:
        """The products that were measured and are finite, on the CPU."""
        here = [one.cpu() for one in products if one is not None]
        return [one for one in here if bool(torch.isfinite(one).all())]

    def _measure(self, result: CriterionResult, found: _Found) -> None:
        active = _active(result)
        if not active:
            return
        if not self._has_room(len(active)):
            raise MemoryError("no memory on the GPU for the gradients of single terms")
        terms = {index: term if found.scale is None else term * found.scale for index, term in active.items()}
        if self.heads is None:
            self.heads = heads_among(result.outputs) if self.at_heads else []
        if self.heads:
            heads = [result.outputs[place] for place in self.heads]
            at_heads = {index: gradients_of(term, heads) for index, term in terms.items()}
            rows = [at_heads.get(index) for index in range(len(self.names))]
            found.heads = _unscaled(_products(rows, heads).sum(dim=0), found.scale)
        found.left_out = self.left_out if self.left_out in active else None
        for index, term in terms.items():
            if index != found.left_out:
                found.gradients[index] = gradients_of(term, self.parameters)

    def _has_room(self, terms: int) -> bool:
        """True if the gradients of so many terms fit beside what the step itself will need: a training that goes
        without probes must go with them."""
        if self.device.type != "cuda":
            return True
        free, _ = torch.cuda.mem_get_info(self.device)
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return free > 2 * terms * sum(one.numel() * one.element_size() for one in self.parameters)

    def _finish(self, found: _Found) -> None:
        """The gradient of the term that was left out, then all products."""
        if found.left_out is not None and self.reached is not None:
            rest: list[Tensor | None] = []
            for place, parameter in enumerate(self.parameters):
                left = parameter.grad if self.reached[place, found.left_out] else None
                for row in found.gradients.values():
                    other = row[place]
                    left = left if left is None or other is None else left - other
                rest.append(left)
            found.gradients[found.left_out] = rest
        elif any(
            parameter.grad is not None and all(row[place] is None for row in found.gradients.values())
            for place, parameter in enumerate(self.parameters)
        ):
            raise ModelError("parts of the network are hidden from single terms: reentrant checkpointing does that")
        rows = [found.gradients.get(index) for index in range(len(self.names))]
        found.products = _unscaled(_products(rows, self.parameters), found.scale)
        found.gradients.clear()

    def _add_rows(self, rows: dict[str, dict[str, float]], place: str, grams: Sequence[Tensor]) -> list[float]:
        """Add the means over the epoch's probes of norms and cosines at a place. Returns the norms."""
        norms = torch.stack([gram.diagonal().clamp(min=0).sqrt() for gram in grams])
        cosines = torch.stack([gram / (n[:, None] * n[None, :]) for gram, n in zip(grams, norms, strict=True)])
        means: list[float] = norms.mean(0).tolist()
        between: list[list[float]] = cosines.nanmean(0).clamp(-1, 1).tolist()
        rows[GRADIENT.name] |= {joined(place, name): norm for name, norm in zip(self.names, means, strict=True)}
        rows[COSINE.name] |= {
            joined(place, self.names[i], self.names[j]): between[i][j]
            for i in range(len(self.names))
            for j in range(i + 1, len(self.names))
            if math.isfinite(between[i][j])
        }
        return means

    def _book(self, *, wait: bool) -> None:
        """Enter the last probe's cost, if it is known."""
        if self.timing is not None and self.timing.ended and (seconds := self.timing.seconds(wait=wait)) is not None:
            self.timing = None
            self.account.spent += seconds
            self.account.cost = seconds
            self.seconds += seconds


@dataclass
class _Found:
    """One probe. heads: products of the terms' gradients there, [K, K]; products: at each parameter, [P, K, K].
    gradients: term -> its gradients at the parameters, until they are multiplied."""

    scale: Tensor | None
    left_out: int | None = None
    gradients: dict[int, list[Tensor | None]] = field(default_factory=dict)
    heads: Tensor | None = None
    products: Tensor | None = None


def _active(result: CriterionResult) -> dict[int, Tensor]:
    """The weighted terms that have a gradient, by their place."""
    return {index: term for index, term in enumerate(result.weighted) if term is not None and term.requires_grad}


def _shared(reached: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The places of the parameters that every term reaches or, without any, at least two. reached: [P, K]; a term that
    reaches none does not count."""
    counts = reached.sum(axis=1)
    everywhere = np.flatnonzero(counts == reached.any(axis=0).sum())
    return everywhere if len(everywhere) else np.flatnonzero(counts > 1)


def _products(rows: Sequence[Sequence[Tensor | None] | None], like: Sequence[Tensor]) -> Tensor:
    """The inner products of gradients that are given tensor by tensor, None for 0: float64, [number of tensors, K,
    K]."""
    found: list[Tensor] = []
    for position, tensor in enumerate(like):
        zero = torch.zeros_like(tensor)
        parts = [zero if row is None or row[position] is None else row[position] for row in rows]
        stack = torch.stack([part.detach().reshape(-1) for part in parts if part is not None]).double()
        found.append(stack @ stack.T)
    return torch.stack(found)


def _unscaled(products: Tensor, scale: Tensor | None) -> Tensor:
    return products if scale is None else products / scale.double() ** 2


@contextmanager
def _undisturbed(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Put random states and buffers back: a network may draw or count in its backward pass (checkpointing does)."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - users' code uses it
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    kept = [
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
        for module, name, buffer, before in kept:
            buffer.data.copy_(before)  # unnoticed: what the graph has saved of it is what it was
            module._buffers[name] = buffer  # it may have been replaced


class _Timing:
    """Seconds of work on a device, in two parts, without waiting for it."""

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
        """None while the device is not there yet."""
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
