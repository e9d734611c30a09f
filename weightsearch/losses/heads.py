"""Heads (outputs of a network that are not computed from other outputs) and the terms' gradients at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction


def gradients_of(value: Tensor, at: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradient of a scalar at each tensor; None for tensors on which it does not depend."""
    here = [index for index, tensor in enumerate(at) if tensor.requires_grad]  # a part may learn from a later epoch on
    results = torch.autograd.grad(value, [at[index] for index in here], retain_graph=True, allow_unused=True)
    gradients: list[Tensor | None] = [None] * len(at)
    for index, gradient in zip(here, results, strict=True):
        gradients[index] = gradient
    return gradients


def heads_among(outputs: Sequence[Tensor]) -> list[int]:
    """Indices of the outputs that are not computed from other outputs; empty if that is not defined."""
    if len(outputs) == 1:
        return [0]
    functions = [output.grad_fn for output in outputs]
    if any(isinstance(function, BackwardCFunction) for function in functions):
        return []  # the inside of a compiled or custom function is not visible
    heads: list[int] = []
    for index, output in enumerate(outputs):
        others = [other for other in outputs if other is not output]
        if all(gradient is None for gradient in gradients_of(output.sum(), others)):
            heads.append(index)
        elif _has_path_of_its_own(output, [function for function in functions if function is not output.grad_fn]):
            return []
    return heads


def _has_path_of_its_own(output: Tensor, others: Sequence[Any]) -> bool:
    """True if an output depends on a leaf by a path that avoids the outputs of these functions. others: `grad_fn` of
    the other outputs."""
    waiting: list[Any] = [output.grad_fn]
    seen = {None, *others}
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        if hasattr(function, "variable"):
            return True
        waiting.extend(following for following, _ in function.next_functions)
    return False


class HeadGradients:
    """The sum of each term's gradients at the heads, measured during a backward pass.

    A term's gradient at an output that is computed from heads, such as depth from two heads, is propagated to the heads
    by the chain rule and counts there. The training's own gradients do not change. terms: the number of terms. heads:
    the head outputs, as the network returned them.
    """

    def __init__(self, terms: int, heads: Sequence[Tensor]) -> None:
        self.heads = list(heads)
        self.failed = False
        self.sums: list[list[Tensor | None]] = []
        self.terms = terms
        self.forget()

    def add(self, term: int, output: Tensor, gradient: Tensor) -> None:
        """Add a term's gradient at an output, which is a head or computed from heads. If the graph cannot be followed,
        the measurement ends and the training continues."""
        if self.failed:
            return
        try:
            arriving = torch.autograd.grad(output, self.heads, gradient, retain_graph=True, allow_unused=True)
        except Exception:
            self.failed = True
            return
        row = self.sums[term]
        for index, arrived in enumerate(arriving):
            if arrived is not None:
                before = row[index]
                row[index] = arrived.detach() if before is None else before + arrived.detach()

    def forget(self) -> None:
        """Reset the sums, after a backward pass that does not belong to the training."""
        self.sums = [[None] * len(self.heads) for _ in range(self.terms)]

    def norms(self, like: Tensor) -> Tensor:
        """The norm over all heads of each term's gradient, [K], with the type and device of `like`; 0 for terms that
        reach no head."""
        norms = torch.zeros_like(like)
        for term, row in enumerate(self.sums):
            for gradient in row:
                if gradient is not None:
                    norms[term] = torch.hypot(norms[term], torch.linalg.vector_norm(gradient).to(like))
        return norms
