"""The training loop with all its recording against a bare PyTorch loop over the same network, frames and batches.

    python benchmarks/throughput.py [--rounds 7] [--device auto] [--study studies/dualhead.yaml] [--output FILE]

The bare loop has what nobody can leave out, in the form that the trainer has it: batches copied from the same memory
map, a network that lies channels-last, forward, the three L1 terms written out by hand, backward, the step of a fused
optimizer. Ours has the criterion, the record of every term's value, contribution and
gradient at the outputs, the parameters' gradient norm and the watch for non-finite values besides. Both train the same
number of steps; rounds are paired and their order alternates. The ratio is bare seconds over ours: 1 is no overhead. Seconds
on a CPU are the process's own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import torch

from weightsearch.config import Configuration, load_configuration
from weightsearch.data.dataset import Dataset, open_dataset
from weightsearch.runtime.batches import batches
from weightsearch.runtime.device import choose_device, choose_precision
from weightsearch.runtime.network import build_network
from weightsearch.runtime.seeding import shuffled
from weightsearch.training.loop import Trainer
from weightsearch.training.optimizer import make_optimizer
from weightsearch.training.recorder import Recorder

ROOT = Path(__file__).parents[1]
WEIGHTS = {"integer": 1.0, "fractional": 10.0, "consistency": 0.5}


def now(device: torch.device) -> float:
    """Seconds: of this process on a CPU, which others on the machine do not lengthen much; by the clock on a GPU."""
    return time.process_time() if device.type == "cpu" else time.perf_counter()


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Bare:
    def __init__(self, configuration: Configuration, dataset: Dataset, device: torch.device) -> None:
        self.configuration, self.dataset, self.device = configuration, dataset, device
        self.network = build_network(configuration, device)
        self.precision = choose_precision(configuration.train.amp, device)
        self.optimizer = make_optimizer(self.network, configuration.train)
        self.epoch = 0

    def steps(self, order: object) -> float:
        maximum = self.configuration.data.max_depth
        self.network.train()
        wait(self.device)
        started = now(self.device)
        for batch in batches(self.dataset, order, self.configuration.train.batch_size, self.device):
            self.optimizer.zero_grad(set_to_none=True)
            with self.precision.autocast():
                out = self.network(batch.image)
            y, valid = batch.depth, batch.valid
            count = valid.sum().clamp(min=1)
            integer = (out["integer"] - y.floor() / maximum).masked_fill(~valid, 0).abs().sum() / count
            fractional = (out["fractional"] - (y - y.floor())).masked_fill(~valid, 0).abs().sum() / count
            consistency = (out["depth"] - y).masked_fill(~valid, 0).abs().sum() / count
            (integer + 10 * fractional + 0.5 * consistency).backward()
            self.optimizer.step()
        wait(self.device)
        return now(self.device) - started


class Recording:
    """The training half of Trainer.train_epoch: what it does a step, without the validation that follows."""

    def __init__(self, configuration: Configuration, dataset: Dataset, device: torch.device) -> None:
        self.trainer = Trainer(configuration, dataset, device)

    def steps(self, order: object) -> float:
        trainer = self.trainer
        trainer.network.train()
        wait(trainer.device)
        started = now(trainer.device)
        trainer.train_steps(order, Recorder(trainer.criterion, trainer.device), 1)
        wait(trainer.device)
        return now(trainer.device) - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--study", type=Path, default=ROOT / "studies" / "dualhead.yaml")
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    weights = [f"loss.{name}.weight={weight}" for name, weight in WEIGHTS.items()]
    configuration = load_configuration(arguments.study, [*weights, *arguments.sets])
    device = choose_device(configuration, arguments.device)
    torch.set_num_threads(configuration.resources.cpus_per_trial)
    dataset = open_dataset(configuration)
    size = configuration.train.batch_size
    frames = dataset.splits["train"]
    order = shuffled(frames, 0, 1)[: len(frames) // size * size]
    sides = {"bare": Bare(configuration, dataset, device), "ours": Recording(configuration, dataset, device)}
    for side in sides.values():
        side.steps(order)
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    for number in range(arguments.rounds):
        for name in ("bare", "ours") if number % 2 else ("ours", "bare"):
            seconds[name].append(sides[name].steps(order))
    ratios = [bare / ours for bare, ours in zip(seconds["bare"], seconds["ours"], strict=True)]
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": f"{where}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "load_average": os.getloadavg()[0],  # of the machine at the end: above the number of cores, times are noise
        "ratio_quartiles": statistics.quantiles(ratios, n=4)[::2],
        "study": arguments.study.name,
        "size": list(configuration.data.size),
        "batch_size": size,
        "steps_per_round": len(order) // size,
        "seconds": seconds,
        "images_per_second": {name: len(order) / statistics.median(found) for name, found in seconds.items()},
        "ratio_median": statistics.median(ratios),
        "ratios": ratios,
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
