"""The cost of gradient probes, and a check that they do not change a training: paired epochs with and without.

    python -m benchmarks.probe --rounds 24 --output benchmarks/results/probe.json

Three trainings of the 7-Scenes dual-head study take turns, epoch by epoch, on the same frames: without probes, with the
default budget, and the naive way, which goes backward once for each term in every step. A training that is over begins
again, as on a worker that trains one trial after another.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from weightsearch.config import load_base
from weightsearch.config.schema import Analysis, Configuration
from weightsearch.data.dataset import Dataset, open_dataset
from weightsearch.losses.criterion import CriterionResult
from weightsearch.records import EpochRecord, Measurements
from weightsearch.runtime.device import choose_device
from weightsearch.runtime.environment import describe_environment
from weightsearch.training.loop import Trainer
from weightsearch.training.probe import Account

STUDY = Path(__file__).parents[1] / "studies" / "dualhead_7scenes.yaml"
WAYS = ("off", "default", "naive")


class Naive:
    """In place of a Probe: a backward pass a term in every step, and its norm at once."""

    def __init__(self, parameters: list[torch.Tensor]) -> None:
        self.parameters = parameters
        self.norms: list[float] = []
        self.problem: str | None = None

    def begin(self) -> None:
        pass

    def due(self, result: CriterionResult, step: int) -> bool:
        return True

    def measure(self, result: CriterionResult, scale: torch.Tensor | None) -> None:
        for term in result.weighted:
            found = torch.autograd.grad(term, self.parameters, retain_graph=True, allow_unused=True)
            self.norms.append(float(torch.nn.utils.get_total_norm([one for one in found if one is not None])))
        result.output_gradients.zero_()

    def finish(self) -> None:
        pass

    def end(self, steps: int) -> Measurements:
        return {}


class Turn:
    """One of the three ways of training."""

    def __init__(self, way: str, configuration: Configuration, dataset: Dataset, device: torch.device) -> None:
        self.way, self.configuration, self.dataset, self.device = way, configuration, dataset, device
        self.account = Account(Analysis().budget if way == "default" else 0.0)
        self.trainer = self._new()
        self.seconds: list[float] = []
        self.records: list[EpochRecord] = []

    def _new(self) -> Trainer:
        trainer = Trainer(self.configuration, self.dataset, self.device, account=self.account)
        if self.way == "naive":
            trainer.probe = Naive(trainer.parameters)  # type: ignore[assignment]
        return trainer

    def epoch(self) -> None:
        if self.trainer.done:
            self.trainer = self._new()
        started = time.perf_counter()
        record = self.trainer.train_epoch()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds.append(time.perf_counter() - started)
        self.records.append(record)


def measure(rounds: int, device_name: str, options: list[str]) -> dict[str, Any]:
    data = Path(os.environ.get("WEIGHTSEARCH_DATA", "../shared/data")).resolve()
    os.environ.setdefault("SEVEN_SCENES", str(data / "7scenes" / "redkitchen"))
    weights = data / "weights" / "tf_efficientnet_lite0.safetensors"
    given = ["loss.fractional.weight=10", "loss.consistency.weight=0.5", f"model.weights={weights}", *options]
    configuration = load_base(STUDY, given)
    device = choose_device(configuration, device_name)
    dataset = open_dataset(configuration)
    turns = {way: Turn(way, configuration, dataset, device) for way in WAYS}
    for number in range(rounds + 1):
        order = WAYS[number % 3 :] + WAYS[: number % 3]  # none is always the first
        for way in order:
            turns[way].epoch()
        print(f"round {number} of {rounds}: " + ", ".join(f"{way} {turns[way].seconds[-1]:.3f} s" for way in WAYS))
    same = [
        [replace(record, seconds=0.0) for record in turns[way].records]
        == [replace(record, seconds=0.0) for record in turns["off"].records]
        for way in WAYS
    ]
    parameters = [
        all(torch.equal(one, turns["off"].trainer.network.state_dict()[name]) for name, one in found.items())
        for found in (turns[way].trainer.network.state_dict() for way in WAYS)
    ]
    seconds = {way: turns[way].seconds[1:] for way in WAYS}  # the first round warms up
    off = sum(seconds["off"])
    return {
        "date": date.today().isoformat(),
        "device": describe_environment(device, configuration.resources.cpus_per_trial).device,
        "torch": torch.__version__,
        "rounds": rounds,
        "steps_an_epoch": turns["off"].trainer.steps_per_epoch,
        "seconds_an_epoch": {way: statistics.median(found) for way, found in seconds.items()},
        "factor_of_totals": {way: sum(found) / off for way, found in seconds.items()},
        "median_of_paired_factors": {
            way: statistics.median(one / other for one, other in zip(found, seconds["off"], strict=True))
            for way, found in seconds.items()
        },
        "probes": sum(record.sampled.get("probe", {}).get("probes", 0) for record in turns["default"].records),
        "share_by_its_own_clock": turns["default"].account.spent
        / (turns["default"].account.seconds - turns["default"].account.spent),
        "same_records": dict(zip(WAYS, same, strict=True)),
        "same_parameters": dict(zip(WAYS, parameters, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], dest="options")
    parser.add_argument("--output", type=Path)
    words = parser.parse_args()
    found = measure(words.rounds, words.device, words.options)
    print(json.dumps(found, indent=2))
    if words.output is not None:
        words.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
