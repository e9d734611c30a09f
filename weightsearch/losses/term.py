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

    A term's class declares its needs by optional attributes: `needs_intrinsics` (True for a term that needs camera
    intrinsics; default False), `needs_ground_truth` (False for a term of self-supervision, which test-time refinement
    can use; default True), `photometric` (True for a term that compares images; default False).

    prediction: the network's named outputs. Returns the unweighted term, a scalar; the criterion alone multiplies by
    weights. A term without a valid pixel is 0 and attached to the graph.
    """

    def __call__(self, prediction: Prediction, batch: Batch) -> Tensor: ...
