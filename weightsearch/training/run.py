"""Training of a configuration in a folder: checkpoint, resolved configuration, metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
import yaml

from weightsearch.config.schema import Configuration
from weightsearch.data.dataset import open_dataset
from weightsearch.data.reading import Progress
from weightsearch.errors import RAISED, ModelError, TrialFailure, WeightsearchError, fault_line
from weightsearch.evaluation.data_warnings import warnings_before_training, with_warnings
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.evaluation.scores import open_truths
from weightsearch.files import write_text
from weightsearch.records import EpochRecord
from weightsearch.runtime.environment import describe_environment
from weightsearch.training.loop import Trainer
from weightsearch.training.preflight import preflight

CHECKPOINT: Final = "checkpoint.pt"
CONFIGURATION: Final = "config.yaml"
METRICS: Final = "metrics.json"


def train(
    configuration: Configuration,
    folder: Path,
    device: torch.device,
    *,
    progress: Progress | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_resume: Callable[[int], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
    accepted: bool = False,
) -> dict[str, Any]:
    """Train to the end, resuming from the folder's checkpoint if it exists. Returns the content of `metrics.json`.

    on_resume: called with the number of trained epochs. on_warning: called with warnings about the data. accepted: the
    data were used by the study's trials, so that their unit is not checked. Raises WeightsearchError, including
    TrialFailure; written files are kept.
    """
    checkpoint = folder / CHECKPOINT
    dataset = open_dataset(configuration, progress=progress)
    protocol = protocol_of(configuration, "validation")
    with with_warnings(dataset, protocol):
        preflight(configuration, dataset)
    for line in () if accepted else warnings_before_training(dataset, protocol):
        if on_warning is not None:
            on_warning(line)
    open_truths(dataset, "validation", protocol, progress)
    trainer = Trainer(configuration, dataset, device)
    if checkpoint.exists():
        trainer.resume(checkpoint)
        if on_resume is not None:
            on_resume(trainer.epoch)
    write_text(folder / CONFIGURATION, yaml.safe_dump(configuration.model_dump(mode="json"), sort_keys=False))
    while not trainer.done:
        record = _train_epoch(trainer)
        trainer.save(checkpoint)
        if on_epoch is not None:
            on_epoch(record)
    last = trainer.result
    result = {
        "name": configuration.name,
        "epoch": last.epoch,
        "split": "validation",
        "metrics": last.metrics,
        "protocol": trainer.protocol.to_plain(),
        "terms": {name: asdict(term) for name, term in last.terms.items()},
        "history": [record.to_plain() for record in trainer.history],
        "environment": asdict(describe_environment(device, configuration.resources.cpus_per_trial)),
    }
    write_text(folder / METRICS, json.dumps(result, indent=2) + "\n")
    return result


def _train_epoch(trainer: Trainer) -> EpochRecord:
    try:
        return trainer.train_epoch()
    except WeightsearchError as error:
        if isinstance(error, ModelError) and error.__cause__ is not None:  # raised by a user's network or term
            raise TrialFailure(f"epoch {trainer.epoch + 1} failed: {error}") from error
        raise
    except RAISED as error:  # raised by a user's dataset
        raise TrialFailure(f"epoch {trainer.epoch + 1} failed: {fault_line(error)}") from error
