"""Small trainings on the CPU."""

from __future__ import annotations

from pathlib import Path

import torch

from weightsearch.config import Configuration, load_configuration
from weightsearch.data.dataset import open_dataset
from weightsearch.records import EpochRecord
from weightsearch.training.loop import Trainer

CPU = torch.device("cpu")


CLOSED = ["loss.fractional.weight=10", "loss.consistency.weight=0.5"]


def configuration(tiny: Path, *sets: str) -> Configuration:
    return load_configuration(tiny, [*CLOSED, *sets])


def trained(tiny: Path, *sets: str) -> Trainer:
    found = configuration(tiny, *sets)
    trainer = Trainer(found, open_dataset(found), CPU)
    while not trainer.done:
        trainer.train_epoch()
    return trainer


def numbers(history: list[EpochRecord]) -> list[dict]:
    """Records without their times."""
    return [{**record.to_plain(), "seconds": 0} for record in history]
