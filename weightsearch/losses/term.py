"""The interface of loss terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from weightsearch.data.batch import Batch

Prediction = Mapping[str, Tensor]


@runtime_checkable
class LossTerm(Protocol):
    """A callable, usually an nn.Module, whose constructor's keyword arguments are its options in the study file.

    A term's class says what it needs by attributes, each of which may be left out: `needs_intrinsics` (True for a term
    that needs cameras; default False), `needs_ground_truth` (False for a term of self-supervision, which test-time
    refinement may learn from; default True), `photometric` (True for a term that compares pictures; default False).

    prediction: the network's named outputs. Returns the unweighted term, a scalar; the criterion alone multiplies by
    weights. A term without a valid pixel is 0 and attached to the graph.
    """

    def __call__(self, prediction: Prediction, batch: Batch) -> Tensor: ...
