"""Preflight check: a small batch through network, loss and metrics, before a long training."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

from weightsearch.config import Configuration, StudyConfig
from weightsearch.data.augmentation import augment
from weightsearch.data.batch import Batch
from weightsearch.data.dataset import Dataset, check_counts
from weightsearch.errors import RAISED, DataError, ModelError, WeightsearchError, counted, fault_line
from weightsearch.evaluation.protocols import protocol_of, try_own_metrics
from weightsearch.evaluation.scores import check_measurable, knows_depth
from weightsearch.losses.criterion import build_criterion, build_masking
from weightsearch.metrics.depth_metrics import NAMES
from weightsearch.plugins import attribute
from weightsearch.runtime.batches import batches
from weightsearch.runtime.network import build_network, depth_of, predict, quantised, waiting_parts
from weightsearch.training.term_check import check_terms, weighted_terms
from weightsearch.user_code import at

Sizes = tuple[tuple[int, int], tuple[int, int]]

PROPORTIONS: Final = 0.1  # largest relative difference between the aspect ratios of prediction and images


def learning(config: StudyConfig) -> Configuration:
    """A configuration of a study with a weight above 0: its base configuration, else a baseline."""
    baselines = (config.configuration(values) for values in config.search.baselines.values())
    candidates = (
        candidate for candidate in (config.base, *baselines) if any(term.weight > 0 for term in candidate.loss.values())
    )
    return next(candidates, config.base)


def used_terms(config: StudyConfig) -> frozenset[str]:
    """Loss terms with a weight above 0 in at least one trial of a study."""
    first = {name: allowed.ends()[0] for name, allowed in config.space.items()}
    tried = [first | {name: value} for name, allowed in config.space.items() for value in allowed.ends()]
    used = [weighted_terms(config.configuration(values)) for values in (*tried, *config.search.baselines.values())]
    return frozenset().union(*used)


def preflight(
    configuration: Configuration,
    dataset: Dataset,
    metrics: Iterable[str] = (),
    terms: Collection[str] | None = None,
) -> Sizes | None:
    """Build network and criterion, and run one or two augmented frames through them on the CPU, first each term alone.

    terms: terms to check (default: those with a weight above 0). Raises WeightsearchError for errors that would end
    every trial or make it useless: weights that do not fit, missing outputs, terms without a gradient, own metrics that
    return no number, frames without valid depth, metrics without ground truth. Returns the sizes of the predicted depth
    and of the images; None for a network without depth.
    """
    check_counts({str(name): len(indices) for name, indices in dataset.splits.items()})
    order = dataset.splits["train"]
    frames = order[np.linspace(0, len(order) - 1, min(2, configuration.train.batch_size, len(order))).astype(np.int64)]
    supervised = not configuration.data.neighbours
    if supervised:
        _check_depth(dataset)
    else:
        _check_motion(configuration, dataset)
    network, criterion = build_network(configuration), build_criterion(configuration)
    plain = next(iter(batches(dataset, frames, len(frames), torch.device("cpu"))))
    try:
        batch = augment(plain, configuration.augmentation, np.random.SeedSequence(configuration.seed))
        network.train()
        check_terms(configuration, network, batch, dataset, weighted_terms(configuration) if terms is None else terms)
        for part in waiting_parts(network, configuration.train.start_epochs, 1):
            part.requires_grad_(False)
        prediction = predict(network, batch)
        if configuration.evaluation.bits is not None:
            quantised(network, prediction, configuration.evaluation.bits)
        sizes = _check_size(prediction, batch) if supervised or "depth" in prediction else None
        if "depth" in prediction:
            try_own_metrics(configuration)
        masks: Mapping[str, Tensor] = {}
        if (masking := build_masking(configuration)) is not None:
            masks = masking(prediction, batch, configuration.train.epochs).masks
        result = criterion(prediction, batch, masks)
        if not result.total.requires_grad:
            when = " in epoch 1: see train.start_epochs" if configuration.train.start_epochs else ""
            raise ModelError(f"no parameter of the network gets a gradient from the loss{when}")
    except WeightsearchError:
        raise
    except RAISED as error:  # raised by a user's network or term
        raise ModelError(f"a first batch of {counted(len(frames), 'frame')} failed: {fault_line(error)}") from error
    stopping = configuration.train.early_stopping
    wanted = [*metrics, *([] if stopping is None else [stopping.metric])]
    if any(name not in NAMES for name in wanted) or (wanted and not supervised):
        check_measurable(dataset, "validation", protocol_of(configuration, "validation"), prediction, wanted)
    return sizes


def _check_size(prediction: Mapping[str, Tensor], batch: Batch) -> Sizes:
    """Raise ModelError if depth and images have different proportions, for example if rows and columns are
    exchanged."""
    height, width = depth_of(prediction, "native").shape[-2:]
    of = (batch.image.shape[-2], batch.image.shape[-1])
    if abs(height * of[1] - width * of[0]) > of[0] + of[1] + PROPORTIONS * height * of[1]:
        network = getattr(prediction, "network", None)
        raise ModelError(
            f"model.name: the network {type(network).__name__}: 'depth' is {height}x{width} for images of "
            f"{of[0]}x{of[1]}; expected the images' size, or another size of the same proportions"
            f"{at(network)}"
        )
    return (height, width), of


def _check_depth(dataset: Dataset) -> None:
    """Raise DataError if no training frame has depth in the range, or no validation frame has depth."""
    if not knows_depth(dataset, "validation"):
        raise DataError("data: no frame of the validation split has depth")
    order = dataset.splits["train"]
    depth = dataset.frames.depth[order[:: max(1, len(order) // 32)]]
    if not ((depth > dataset.min_depth) & (depth < dataset.max_depth)).any():
        raise DataError(
            f"data: no training frame has depth between min_depth {dataset.min_depth:g} and max_depth "
            f"{dataset.max_depth:g} m; the depths found go from {depth.min():g} to {depth.max():g} m"
        )


def _check_motion(configuration: Configuration, dataset: Dataset) -> None:
    """Raise DataError for terms that need camera intrinsics or poses that the dataset does not have."""
    order = dataset.splits["train"]
    poses, cameras = (
        np.isfinite(values[order]).all(axis=(1, 2)) for values in (dataset.frames.pose, dataset.frames.intrinsics)
    )
    for name, term in configuration.loss.items():
        if not attribute("loss", term.term or name, "needs_intrinsics", default=False):
            continue
        if not cameras.all():
            raise DataError(
                f"loss.{name}: this term needs camera intrinsics; the data set has none for some training frames"
            )
        if term.options.get("pose", "predicted") != "predicted" and not poses.any():
            raise DataError(f"loss.{name}.pose: {term.options['pose']!r} needs poses; the data set has none")
