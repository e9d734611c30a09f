"""One small batch through everything, before anything long is started."""

from __future__ import annotations

import numpy as np
import torch

from weightsearch.data.augmentation import augment
from weightsearch.data.dataset import Dataset
from weightsearch.errors import DataError, ModelError, WeightsearchError, fault_line
from weightsearch.losses.criterion import build_criterion
from weightsearch.spec import Configuration, StudySpec
from weightsearch.training.batches import batches
from weightsearch.training.network import build_network, depth_of, predict, quantised


def learning(spec: StudySpec) -> Configuration:
    """A configuration of a study that learns something: its base, or if all weights are 0 there a baseline."""
    baselines = (spec.configuration(values) for values in spec.search.baselines.values())
    found = (one for one in (spec.base, *baselines) if any(term.weight > 0 for term in one.loss.values()))
    return next(found, spec.base)


def preflight(configuration: Configuration, dataset: Dataset) -> None:
    """Build network and criterion and take one or two frames, augmented, through them on the CPU. Raises
    WeightsearchError for whatever would end every trial: weights that do not fit, outputs that a term lacks, frames
    without valid depth."""
    for name in ("train", "validation"):
        if not len(dataset.splits[name]):
            raise DataError(f"data: the data set has no frames of the split {name!r}; training needs them")
    order = dataset.splits["train"]
    frames = order[np.linspace(0, len(order) - 1, min(2, len(order))).astype(np.int64)]
    depth = dataset.frames.depth[order[:: max(1, len(order) // 32)]]
    if not ((depth > dataset.min_depth) & (depth < dataset.max_depth)).any():
        raise DataError(
            f"data: no training frame has depth between min_depth {dataset.min_depth:g} and max_depth "
            f"{dataset.max_depth:g} m; the depths found go from {depth.min():g} to {depth.max():g} m"
        )
    network, criterion = build_network(configuration), build_criterion(configuration)
    plain = next(iter(batches(dataset, frames, len(frames), torch.device("cpu"))))
    try:
        batch = augment(plain, configuration.augmentation, np.random.SeedSequence(configuration.seed))
        network.train()
        prediction = predict(network, batch)
        if configuration.evaluation.bits is not None:
            quantised(network, prediction, configuration.evaluation.bits)
        depth_of(prediction, (batch.depth.shape[-2], batch.depth.shape[-1]))
        result = criterion(prediction, batch)
        if not result.total.requires_grad:
            raise ModelError("no parameter of the network gets a gradient from the loss")
    except WeightsearchError:
        raise
    except Exception as error:  # a user's network or term may raise anything
        raise ModelError(f"a first batch of {len(frames)} frames failed: {fault_line(error)}") from error
