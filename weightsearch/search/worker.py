"""Ray worker: runs one trainer at a time, one epoch per step. Uses neither Optuna nor the database."""

from __future__ import annotations

import json
import platform
import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from ray import tune

from weightsearch.config import Configuration
from weightsearch.data.dataset import check_content, open_dataset
from weightsearch.errors import RAISED, CheckpointError, DataError, WeightsearchError, WriteError, fault_line, one_line
from weightsearch.files import write_text
from weightsearch.runtime.device import choose_device
from weightsearch.runtime.environment import describe_environment
from weightsearch.search.host import add_folders, check_shared, check_weights
from weightsearch.search.trial_log import TrialLog, pointer
from weightsearch.training.loop import Trainer
from weightsearch.training.probe import Account

RAYS_OWN: Final = "ray_terminate_msg"  # attribute of a SystemExit raised by Ray


class Superseded(Exception):
    """Another worker has taken over the trial, because this worker was considered dead."""


# DataError and WriteError are not caused by the trial. They stop the study: on one machine at once, on a cluster if
# they persist. See LedgerScheduler.
RETRIED: Final = (OSError, MemoryError, torch.OutOfMemoryError, Superseded, DataError, WriteError)


class Worker(tune.Trainable):  # type: ignore[misc]
    """Trains a trial's configuration, from the trial's checkpoint if it exists.

    Result of a step: `number`, and `report` (JSON: the attempt and the epoch just trained; in the first step after a
    resume, the checkpoint's epochs) or `failed` (the reason why the trial cannot continue). Temporary faults (memory,
    disk, missing or changed data) are raised, so that Ray retries from the checkpoint.
    """

    def setup(self, config: dict[str, Any]) -> None:
        add_folders(config["plugin_path"])
        self.where = f"on the host {platform.node()}: " if config["on_a_cluster"] else ""
        self.number: int = config["number"]
        self.order: int = config["order"]
        self.configuration = Configuration.model_validate_json(config["configuration"])
        self.content: dict[str, float] = config["content"]
        self.checkpoint = Path(config["checkpoint"])
        self.marker = Path(config["marker"])
        self.owner = self.checkpoint.with_name("attempt")
        self.attempt = uuid.uuid4().hex
        self.log = TrialLog(Path(config["log"]))
        self.trainer: Trainer | None = None
        self.resumed_from = 0
        if not hasattr(self, "account"):  # the worker is reused for further trials of the study
            self.account = Account(self.configuration.analysis.budget)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        try:
            with self.log.captured():
                return self._step()
        except RETRIED as error:
            self.log.fault(error)
            raise self._located(error) from None
        except WeightsearchError as error:
            _end_as_asked(error)
            self.log.fault(error)
            if isinstance(error.__cause__, RETRIED):
                raise self._located(error.__cause__) from None
            return self._failed(one_line(str(error)))
        except RAISED as error:  # raised by a user's network, term or dataset
            _end_as_asked(error)
            self.log.fault(error)
            return self._failed(fault_line(error))

    def _step(self) -> dict[str, Any]:
        if self.trainer is None:
            self.trainer = self._start()
            records = list(self.trainer.history)
        else:
            records = []
        trainer = self.trainer
        if not records:  # a checkpoint's epochs are reported before further training
            records = [trainer.train_epoch()]
            self._save(trainer)
        report = {
            "attempt": self.attempt,
            "order": self.order,
            "resumed_from": self.resumed_from,
            "protocol": trainer.protocol.to_plain(),
            "environment": asdict(self.environment),
            "records": [record.to_plain() for record in records],
        }
        result = {"number": self.number, "report": json.dumps(report), "done": trainer.done}
        if trainer.done:
            self.log.note(f"trained to the end, epoch {trainer.epoch}")
            with suppress(Exception):  # a finished trial does not fail because of its pictures
                result["pictures"] = tuple(trainer.pictures())
        return result

    def _start(self) -> Trainer:
        check_shared(self.marker)
        gpus = self.configuration.resources.gpus_per_trial
        device = choose_device(self.configuration, "cuda" if gpus != "auto" and gpus > 0 else "cpu")
        self.environment = describe_environment(device, self.configuration.resources.cpus_per_trial)
        check_weights(self.configuration)
        dataset = open_dataset(self.configuration)
        check_content(self.content, dataset.content, "the study")
        trainer = Trainer(self.configuration, dataset, device, account=self.account)
        if self.checkpoint.exists():
            try:
                trainer.resume(self.checkpoint)
            except CheckpointError as error:
                if isinstance(error.__cause__, OSError):  # the next attempt may be able to read it
                    raise WriteError(str(error)) from error
                # A damaged checkpoint: train the trial again from the start.
                trainer = Trainer(self.configuration, dataset, device, account=self.account)
        self.resumed_from = trainer.epoch
        if trainer.epoch:
            self.log.note(f"continues after epoch {trainer.epoch}, from its checkpoint")
        write_text(self.owner, self.attempt)
        return trainer

    def _save(self, trainer: Trainer) -> None:
        """Replace the checkpoint, unless a later worker has taken over the trial and its folder."""
        try:
            owner = self.owner.read_text()
        except OSError as error:
            raise WriteError(f"cannot read {self.owner}: {error.strerror or error}") from error
        if owner != self.attempt:
            raise Superseded(f"another worker took up trial {self.number}")
        trainer.save(self.checkpoint)

    def _located(self, error: BaseException) -> BaseException:
        """The error to raise for a fault; for missing data and unwritable files, a copy that names the host."""
        if type(error) in (DataError, WriteError):
            return type(error)(f"{self.where}{error}")
        return error

    def _failed(self, reason: str) -> dict[str, Any]:
        self.log.note(f"failed: {reason}")
        return {"number": self.number, "failed": f"{reason}{pointer(self.log.path)}", "done": True}


def _end_as_asked(error: BaseException) -> None:
    """Raise the SystemExit that Ray creates for SIGTERM, if it caused the error: the process was told to end, and its
    trial continues in another process."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SystemExit) and hasattr(cause, RAYS_OWN):
            raise cause
        cause = cause.__cause__
