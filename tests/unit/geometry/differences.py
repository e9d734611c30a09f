"""A derivative, by the gradient and by differences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def by_gradient_and_differences(function: Callable[[Tensor], Tensor], step: float) -> tuple[Tensor, Tensor]:
    """The derivative of a function of one number at 0, in the result's shape."""
    size = torch.zeros((), requires_grad=True)
    found = function(size)
    derivatives = [torch.autograd.grad(one, size, retain_graph=True)[0] for one in found.flatten()]
    with torch.no_grad():
        differences = (function(torch.tensor(step)) - function(torch.tensor(-step))) / (2 * step)
    return torch.stack(derivatives).view_as(differences), differences
