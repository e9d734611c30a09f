"""Loss terms of depth, and a scene to take them on."""

from __future__ import annotations

import torch

from tests.helpers.pair_terms import OF_PAIRS
from tests.unit.losses.reference import NEAREST, M
from weightsearch.data.batch import Batch
from weightsearch.losses.term import LossTerm
from weightsearch.plugins import build, names

TERMS = sorted(set(names("loss")) - set(OF_PAIRS))


WITHOUT_TRUTH = ["edge_aware_smoothness"]


def make(name: str, **options) -> LossTerm:
    return build("loss", name, options, {"max_depth": M, "min_depth": NEAREST})


def scene(seed: int = 0, *, shape=(2, 1, 14, 13), dtype=torch.float64):
    """Random outputs of a network and random truth."""
    generator = torch.Generator().manual_seed(seed)
    outputs = {name: torch.rand(shape, generator=generator, dtype=dtype) for name in ("integer", "fractional")}
    outputs["depth"] = M * outputs["integer"] + outputs["fractional"]
    depth = NEAREST + 13.9 * torch.rand(shape, generator=generator, dtype=dtype)
    valid = torch.rand(shape, generator=generator) < 0.7
    return outputs, batch_of(depth, valid)


def batch_of(depth, valid):
    count, (height, width) = depth.shape[0], depth.shape[-2:]
    image = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return Batch(image, depth, valid, torch.eye(3).repeat(count, 1, 1), torch.eye(4).repeat(count, 1, 1))
