"""Test-time refinement: before predicting a frame, a trained network is trained further on the frame and its
neighbours, without ground truth. Sources: Chen et al. 2019 (GLNet); Casser et al. 2019 (restart from the checkpoint at
every frame)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from weightsearch.config.schema import Configuration
from weightsearch.data.batch import Batch, TrueMotion
from weightsearch.data.dataset import Dataset, open_dataset
from weightsearch.data.reading import Progress
from weightsearch.data.source import SplitName
from weightsearch.errors import OptionError, TrialFailure
from weightsearch.evaluation.evaluate import load_network, predicted
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.evaluation.scores import Predicted, open_truths, score
from weightsearch.losses.criterion import CriterionResult, build_criterion, build_masking
from weightsearch.losses.term import Prediction
from weightsearch.metrics.protocol import Protocol
from weightsearch.plugins import attribute, names_with
from weightsearch.runtime.device import Precision, choose_device, choose_precision
from weightsearch.runtime.network import predict
from weightsearch.training.optimizer import make_optimizer


@dataclass(frozen=True)
class Refinement:
    """Options of refinement. steps: optimizer steps per frame. rate: learning rate, relative to the study's. per:
    `frame` restarts from the checkpoint's weights at every frame, `video` at the first frame of each video."""

    steps: int
    rate: float
    per: Literal["frame", "video"]


@dataclass(frozen=True)
class Refined:
    """Result of refinement. metrics, protocol: of the refined predictions. terms: loss terms used. before, after: mean
    weighted sum of the terms over the frames, before a frame's steps (with `video`, after the previous frame's steps)
    and after them."""

    metrics: dict[str, float]
    protocol: Protocol
    terms: tuple[str, ...]
    before: float
    after: float


def self_supervised(configuration: Configuration) -> Configuration:
    """The configuration with only the loss terms that refinement may use. Raises OptionError with the path of a value
    that rules refinement out."""
    if not configuration.data.neighbours:
        raise OptionError(
            "data.neighbours",
            "found none; refinement learns from neighbouring frames: give their offsets, such as [-1, 1]",
        )
    names = {name: term.term or name for name, term in configuration.loss.items() if term.weight > 0}
    if not any(attribute("loss", term, "photometric", default=False) for term in names.values()):
        used, needed = ", ".join(names) or "no weight above 0", " or ".join(names_with("loss", "photometric"))
        raise OptionError("loss", f"found {used}; refinement needs {needed} with a weight above 0")
    allowed = {
        name: configuration.loss[name]
        for name, term in names.items()
        if not attribute("loss", term, "needs_ground_truth", default=True)
    }
    for name, term in allowed.items():
        if term.options.get("pose", "predicted") != "predicted":
            raise OptionError(
                f"loss.{name}.pose",
                f"found {term.options['pose']!r}, which is ground truth; refinement may not see it: set predicted",
            )
    masking = build_masking(configuration)
    if masking is not None and masking.ground_truth is not None:
        path, value = masking.ground_truth
        raise OptionError(
            path, f"found {value!r}, which is ground truth; refinement may not see it: set none, or another method"
        )
    return configuration.model_copy(update={"loss": allowed})


def evaluate_refined(
    configuration: Configuration,
    checkpoint: Path,
    split: SplitName,
    refinement: Refinement,
    device_name: str = "auto",
    *,
    progress: Progress | None = None,
    refining: Progress | None = None,
) -> Refined:
    """Evaluate a checkpoint on a split with test-time refinement; the file is not changed. Raises WeightsearchError,
    including OptionError with the path of a value that rules refinement out."""
    own = self_supervised(configuration)
    device = choose_device(configuration, device_name)
    torch.set_num_threads(configuration.resources.cpus_per_trial)
    network = load_network(configuration, checkpoint, device)
    if not getattr(network, "takes_neighbours", False):
        raise OptionError(
            "model.name",
            f"found {configuration.model.name!r}, which sees no neighbouring frames; refinement needs one that does, "
            "such as co_training",
        )
    dataset = open_dataset(configuration, progress=progress)
    plain = protocol_of(configuration, split)
    open_truths(dataset, split, plain, progress)
    refiner = Refiner(network, own, refinement, dataset, split, choose_precision(configuration.train.amp, device))
    frames = len(dataset.splits[split])

    def predictor(batch: Batch, here: slice) -> Predicted:
        refined = refiner(batch, here, plain)
        if refining is not None:
            refining(here.stop, frames)
        return refined

    metrics = score(dataset, split, plain, device, 1, predictor)
    terms = tuple(own.loss)
    said = (
        f"{refinement.steps} steps a frame from the weights of the checkpoint at every {refinement.per}, "
        f"{refinement.rate:g} of the learning rate, on {' '.join(terms)}"
    )
    before, after = (sum(values) / max(len(values), 1) for values in (refiner.before, refiner.after))
    return Refined(metrics, replace(plain, refinement=said), terms, before, after)


class Refiner:
    """Refines a network frame by frame. configuration: has only the allowed terms, see `self_supervised`. before,
    after: see Refined, a value per frame.

    Deterministic on a CPU: no augmentation, dropout or shuffling; batch normalisation keeps its statistics."""

    def __init__(
        self,
        network: nn.Module,
        configuration: Configuration,
        refinement: Refinement,
        dataset: Dataset,
        split: SplitName,
        precision: Precision,
    ) -> None:
        self.network = network.eval()
        self.refinement = refinement
        self.precision = precision
        self.criterion = build_criterion(configuration).to(precision.device)
        self.masking = build_masking(configuration)
        self.epoch = configuration.train.epochs  # as in the last epoch of the training
        train, rate = configuration.train, refinement.rate
        encoder = None if train.encoder_lr is None else rate * train.encoder_lr
        self.train = train.model_copy(update={"lr": rate * train.lr, "encoder_lr": encoder})
        self.start = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.videos = [video for video, _ in dataset.places(dataset.splits[split])]
        self.video: int | None = None  # the video on which the network has been refined
        self.optimizer: Any = None
        self.before: list[float] = []
        self.after: list[float] = []

    def __call__(self, batch: Batch, here: slice, protocol: Protocol) -> Predicted:
        """Refine the network on a batch of one frame and return its prediction. here: the frame's position in the
        split. Raises TrialFailure for a loss that is not finite."""
        video = self.videos[here.start]
        if self.refinement.per == "frame" or video != self.video:
            self.network.load_state_dict(self.start)
            self.optimizer = make_optimizer(self.network, self.train)
            self.video = video
        seen = without_truth(batch)
        for step in range(self.refinement.steps):
            value = self._step(seen)
            if step == 0:
                self.before.append(value)
        with torch.no_grad():
            prediction, refined = predicted(self.network, batch, protocol, self.precision)
            self.after.append(float(self._loss(prediction, seen).total))
        return refined

    def _step(self, batch: Batch) -> float:
        """Make a step in full precision. Returns the loss before the step."""
        self.optimizer.zero_grad(set_to_none=True)
        total = self._loss(predict(self.network, batch), batch).total
        if not torch.isfinite(total):
            raise TrialFailure("the refinement's loss is not finite; try a smaller --refine-rate")
        if total.requires_grad:  # False if no pixel is visible in a neighbour
            total.backward()  # type: ignore[no-untyped-call]
            if self.train.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.train.clip_norm)
            self.optimizer.step()
        return float(total.detach())

    def _loss(self, prediction: Prediction, batch: Batch) -> CriterionResult:
        masks: Mapping[str, Tensor] = {}
        if self.masking is not None:
            masks = self.masking(prediction, batch, self.epoch).masks
        result: CriterionResult = self.criterion(prediction, batch, masks)
        return result


def without_truth(batch: Batch) -> Batch:
    """Remove the ground truth of depth, pose and flow from a batch; keep images and intrinsics."""
    beside = batch.neighbours
    return replace(
        batch,
        depth=torch.zeros_like(batch.depth),
        valid=torch.zeros_like(batch.valid),
        pose=torch.full_like(batch.pose, torch.nan),
        neighbours=None if beside is None else replace(beside, pose=torch.full_like(beside.pose, torch.nan)),
        motion=TrueMotion(),
    )
