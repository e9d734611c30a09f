"""Predictions in files, as another program saves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tests.helpers.trainings import CPU
from weightsearch.config import Configuration
from weightsearch.data.dataset import open_dataset
from weightsearch.runtime.network import depth_of, predict
from weightsearch.training.run import train


def saved(found: Configuration, folder: Path) -> np.ndarray:
    """A trained network's test predictions, [N, 1, H, W], as another program would save them."""
    train(found, folder, CPU)
    trainer = trained_again(found, folder)
    dataset = open_dataset(found)
    with torch.inference_mode():
        trainer.network.eval()
        batch = dataset.to_batch(dataset.gather(dataset.splits["test"]), CPU)
        return depth_of(predict(trainer.network, batch), found.data.size).numpy()


def trained_again(found: Configuration, folder: Path):
    from weightsearch.training.loop import Trainer

    trainer = Trainer(found, open_dataset(found), CPU)
    trainer.resume(folder / "checkpoint.pt")
    return trainer
