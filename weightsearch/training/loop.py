"""Training loop of all systems, without Ray and Optuna."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weightsearch.config.differences import differences
from weightsearch.config.schema import Configuration
from weightsearch.data.augmentation import augment
from weightsearch.data.batch import Batch
from weightsearch.data.dataset import Dataset, changed_content
from weightsearch.errors import ModelError, WeightsearchError
from weightsearch.evaluation.evaluate import evaluate
from weightsearch.evaluation.pictures import draw_pictures
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.losses.criterion import build_criterion, build_masking
from weightsearch.older_records import from_older
from weightsearch.records import EpochRecord, Picture
from weightsearch.runtime.batches import batches
from weightsearch.runtime.checkpoint import essentials, read_checkpoint, write_checkpoint
from weightsearch.runtime.device import choose_precision
from weightsearch.runtime.network import build_network, predict, train_mode, waiting_parts
from weightsearch.runtime.seeding import seed_process, sequence, shuffled
from weightsearch.training.features import with_features
from weightsearch.training.measures.measure import Step
from weightsearch.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from weightsearch.training.probe import Account, Clock, Probe
from weightsearch.training.recorder import Recorder

CHECK_EVERY: Final = 100  # steps between checks for non-finite values on a GPU, since each check waits for the GPU


class Trainer:
    """Trains a configuration, one epoch at a time.

    On a CPU, with the same number of threads, a configuration gives bit-identical results, with or without a resume
    from a checkpoint. history: records of the trained epochs, including epochs before a resume. account: time account
    for probes, if shared with other trainings.
    """

    def __init__(
        self,
        configuration: Configuration,
        dataset: Dataset,
        device: torch.device,
        *,
        clock: Clock = time.perf_counter,
        account: Account | None = None,
    ) -> None:
        torch.set_num_threads(configuration.resources.cpus_per_trial)
        self.configuration = configuration
        self.dataset = dataset
        self.device = device
        self.clock = clock
        self.precision = choose_precision(configuration.train.amp, device)
        self.protocol = protocol_of(configuration, "validation")
        self.network: nn.Module = build_network(configuration, device)
        self.criterion = build_criterion(configuration).to(device)
        self.optimizer = make_optimizer(self.network, configuration.train)
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        account = account or Account(configuration.analysis.budget)
        self.probe = Probe(self.network, self.parameters, self.criterion, account, clock)
        if configuration.train.freeze_encoder and not configuration.augmentation.active:
            self.dataset = with_features(dataset, self.network, device)
        self.masking = build_masking(configuration)
        self.history: list[EpochRecord] = []
        self.best_weights: dict[str, Tensor] = {}  # with early stopping: state of the network at its best epoch
        frames = len(dataset.splits["train"])
        self.batch_size = min(configuration.train.batch_size, frames)
        self.steps_per_epoch = frames // self.batch_size

    @property
    def epoch(self) -> int:
        """Number of trained epochs."""
        return len(self.history)

    @property
    def done(self) -> bool:
        return self.configuration.train.over(self.epoch, self._curve())

    @property
    def result(self) -> EpochRecord:
        """Record of the epoch that counts."""
        return self.history[self.configuration.train.epoch_that_counts(self.epoch, self._curve()) - 1]

    def _curve(self) -> list[float]:
        watched = self.configuration.train.watched
        return [] if watched is None else [record.metrics[watched] for record in self.history]

    def train_epoch(self) -> EpochRecord:
        """Train an epoch, then evaluate on the validation split. Raises TrialFailure for values that are not finite.
        Frames that do not fill a batch are left out of this epoch."""
        started = self.clock()
        epoch = self.epoch + 1
        seed = self.configuration.seed
        seed_process(seed, "epoch", epoch)
        order = shuffled(self.dataset.splits["train"], seed, epoch)[: self.steps_per_epoch * self.batch_size]
        recorder = Recorder(self.criterion, self.device)
        self._begin_to_learn(epoch)
        self.probe.begin()
        self.train_steps(order, recorder, epoch)
        metrics = evaluate(self.network, self.dataset, "validation", self.protocol, self.precision, self.batch_size)
        record = EpochRecord(
            epoch=epoch,
            seconds=self.clock() - started,
            steps=recorder.steps,
            train_loss=recorder.train_loss(),
            lr=self.optimizer.param_groups[-1]["lr"],
            metrics=metrics,
            measurements=recorder.measurements(),
            sampled=self.probe.end(recorder.steps),
            empty_steps=int(recorder.empty),
            problem=self.probe.problem,
        )
        self.history.append(record)
        if self.configuration.train.early_stopping is not None and self.result is record:
            self.best_weights = {
                name: value.detach().to("cpu", copy=True) for name, value in self.network.state_dict().items()
            }
        return record

    def _begin_to_learn(self, epoch: int) -> None:
        """Set training mode, and `requires_grad` of the parameters that learn in this epoch (train.start_epochs)."""
        train = self.configuration.train
        waiting = waiting_parts(self.network, train.start_epochs, epoch)
        train_mode(self.network, frozen=train.freeze_encoder, waiting=waiting)
        later = {id(parameter) for part in waiting for parameter in part.parameters()}
        for parameter in self.parameters:
            parameter.requires_grad_(id(parameter) not in later)
        if not any(parameter.requires_grad for parameter in self.parameters):
            raise ModelError(f"train.start_epochs: nothing learns in epoch {epoch}")

    def train_steps(self, order: NDArray[np.int64], recorder: Recorder, epoch: int) -> None:
        """Train a step for every batch of these frames. Raises TrialFailure for a value that is not finite: on a CPU
        before the parameters change, on a GPU within CHECK_EVERY steps."""
        check_every = 1 if self.device.type == "cpu" else CHECK_EVERY
        options, seed = self.configuration.augmentation, self.configuration.seed
        for step, plain in enumerate(batches(self.dataset, order, self.batch_size, self.device)):
            batch = augment(plain, options, sequence(seed, "augmentation", epoch, step))
            self._backward(batch, step, recorder)
            if recorder.steps % check_every == 0:
                recorder.check(epoch)
            self.precision.scaler.step(self.optimizer)
            self.precision.scaler.update()
        recorder.check(epoch)

    def _backward(self, batch: Batch, step: int, recorder: Recorder) -> None:
        """Compute and record the clipped gradients of a batch; the caller makes the optimizer's step."""
        train = self.configuration.train
        total_steps = self.steps_per_epoch * train.epochs
        rate = learning_rate(train, self.epoch * self.steps_per_epoch + step, total_steps)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.autocast():
            prediction = predict(self.network, batch)
        balance = None if self.masking is None else self.masking(prediction, batch, self.epoch + 1)
        result = self.criterion(prediction, batch, {} if balance is None else balance.masks)
        scale = self.precision.scale()
        if self.probe.due(result, recorder.steps):
            self.probe.measure(result, scale)
        self.precision.scaler.scale(result.total).backward()
        self.probe.finish()
        self.precision.scaler.unscale_(self.optimizer)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if not gradients:
            raise ModelError("no parameter of the network gets a gradient from the loss")
        norm = torch.nn.utils.get_total_norm(gradients)
        if train.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, train.clip_norm, norm)
        # Under fp16 the scaler handles an infinite gradient: it skips the step and lowers its factor.
        watched = norm if scale is None else torch.zeros_like(norm)
        recorder.add(Step(result, scale, batch.valid, balance), watched)

    def pictures(self) -> list[Picture]:
        """Draw pictures of the predictions of the epoch that counts. Does not change the network."""
        count = self.configuration.analysis.pictures
        now = (
            {name: value.detach().clone() for name, value in self.network.state_dict().items()}
            if self.best_weights
            else {}
        )
        try:
            if self.best_weights:
                self.network.load_state_dict(self.best_weights)
            return draw_pictures(self.network, self.dataset, self.protocol, self.precision, count, self.masking)
        finally:
            if now:
                self.network.load_state_dict(now)

    def state(self) -> dict[str, Any]:
        """State for resuming, as tensors and plain values."""
        return {
            "configuration": essentials(self.configuration),
            "content": self.dataset.content,
            "network": self.network.state_dict(),
            "kept": self.best_weights,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "history": [record.to_plain() for record in self.history],
        }

    def save(self, path: Path) -> None:
        write_checkpoint(path, self.state())

    def resume(self, path: Path) -> None:
        """Resume from a checkpoint. Raises WeightsearchError if it is damaged, or of another configuration or other
        data."""
        state = read_checkpoint(path)
        changed = differences(state["configuration"], essentials(self.configuration))
        if changed:
            raise WeightsearchError(f"{path} is the checkpoint of another configuration: {'; '.join(changed[:3])}")
        changed = changed_content(state.get("content", {}), self.dataset.content)
        if changed:
            raise WeightsearchError(
                f"{path} is the checkpoint of other data under the same name: {', '.join(changed[:3])}"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.precision.scaler.is_enabled() and state["scaler"]:
            self.precision.scaler.load_state_dict(state["scaler"])
        self.best_weights = state.get("kept", {})
        self.history = [EpochRecord.from_plain(from_older(plain)) for plain in state["history"]]
