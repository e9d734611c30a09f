"""The data path with augmentation against the network alone: is the loader ever the bottleneck?

    python -m benchmarks.data_path [--study studies/transfer_7scenes.yaml] [--set PATH=VALUE] [--rounds 7]
        [--device auto] [--output FILE]

Both sides are the same training steps. One side gets its batches from the frame cache, gathered, converted and augmented
(mirror, rotation, crop to the same size, colours, channel permutation); the other gets one batch again and again, which
already lies on the device. Rounds are paired and their order alternates. The ratio is seconds of the network alone over
seconds with the data path: 1 means that the data cost nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from weightsearch.config import load_base
from weightsearch.data.batch import Batch
from weightsearch.data.dataset import open_dataset
from weightsearch.runtime.batches import batches
from weightsearch.runtime.device import choose_device
from weightsearch.runtime.seeding import shuffled
from weightsearch.training import loop
from weightsearch.training.loop import Trainer
from weightsearch.training.recorder import Recorder

ROOT = Path(__file__).parents[1]
AUGMENTATION = (
    "augmentation={mirror: 0.5, rotation: 3, brightness: 0.2, contrast: 0.2, saturation: 0.2, gamma: 0.1, hue: 0.05, "
    "permute_channels: 0.25, crop: %s}"
)


class Side:
    """One trainer; alone: on one batch that lies on the device."""

    def __init__(self, trainer: Trainer, *, alone: bool) -> None:
        self.trainer = trainer
        self.alone = alone
        self.epoch = 0
        order = trainer.dataset.splits["train"][: trainer.batch_size]
        self.batch = next(iter(batches(trainer.dataset, order, trainer.batch_size, trainer.device)))

    def round(self) -> float:
        """Seconds of one epoch's steps."""
        self.epoch += 1
        trainer = self.trainer
        order = shuffled(trainer.dataset.splits["train"], 0, self.epoch)
        order = order[: trainer.steps_per_epoch * trainer.batch_size]
        before = loop.batches
        if self.alone:
            loop.batches = self._same  # type: ignore[attr-defined]
        try:
            trainer.network.train()
            started = time.perf_counter()
            trainer.train_steps(order, Recorder(trainer.criterion, trainer.device), self.epoch)
            if trainer.device.type == "cuda":
                torch.cuda.synchronize(trainer.device)
            return time.perf_counter() - started
        finally:
            loop.batches = before  # type: ignore[attr-defined]

    def _same(self, *_: object) -> Iterator[Batch]:
        for _ in range(self.trainer.steps_per_epoch):
            yield self.batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=ROOT / "studies" / "transfer_7scenes.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path)
    words = parser.parse_args()
    plain = load_base(words.study, [*words.set, "augmentation={}"])
    augmented = load_base(words.study, [*words.set, AUGMENTATION % list(plain.data.size)])
    device = choose_device(plain, words.device)
    dataset = open_dataset(plain)
    sides = {"data": Side(Trainer(augmented, dataset, device), alone=False)}
    sides["alone"] = Side(Trainer(plain, dataset, device), alone=True)
    for side in sides.values():
        side.round()
    seconds: dict[str, list[float]] = {"data": [], "alone": []}
    for number in range(words.rounds):
        for name in sorted(sides, reverse=number % 2 == 1):
            seconds[name].append(sides[name].round())
    images = sides["data"].trainer.steps_per_epoch * sides["data"].trainer.batch_size
    result = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {device}"
        + (f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""),
        "torch": torch.__version__,
        "study": words.study.name,
        "size": list(plain.data.size),
        "threads": plain.resources.cpus_per_trial,
        "images_per_second": {name: images / statistics.median(found) for name, found in seconds.items()},
        "ratio": statistics.median(a / d for a, d in zip(seconds["alone"], seconds["data"], strict=True)),
        "rounds": words.rounds,
    }
    print(json.dumps(result, indent=2))
    if words.output is not None:
        words.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
