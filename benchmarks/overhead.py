"""The driver's cost: do-nothing trials of three reports, this driver and stock Ray Tune + OptunaSearch in one run.

    python benchmarks/overhead.py [--trials 100] [--rounds 3] [--output FILE]

Both sides use the same Ray, two CPUs, SQLite on the disk, TPE with two parameters, and reuse their actors. Ours stores
the epochs, terms, metrics and environment besides, and prunes nothing, so that both report 300 times. What is timed is
the search alone (`tune.run` or `Tuner.fit`), not Ray's start. Rounds alternate; the medians are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from weightsearch.search.connection import SETTINGS

os.environ.update(SETTINGS)

import optuna
import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from weightsearch.config import load_study
from weightsearch.records import EpochRecord, TermRecord, measured_terms
from weightsearch.search.driver import StudyRun

REPORTS = 3
STUDY = """\
name: overhead
storage: sqlite:///{folder}/ours.db
data: {{name: procedural, size: [16, 16], min_depth: 0.3, max_depth: 6.0, scenes: 1, frames: 20}}
model: {{name: dual_head, encoder: test_efficientnet}}
loss:
  integer: {{weight: 1.0}}
  fractional: {{weight: {{low: 0.1, high: 100, log: true}}}}
  consistency: {{weight: {{low: 0.01, high: 10, log: true}}}}
train: {{epochs: {reports}, lr: 1.0e-3}}
search: {{objectives: {{abs_rel: minimize}}, trials: {trials}}}
resources: {{cpus_per_trial: 1, gpus_per_trial: 0, run_dir: {folder}}}
"""


def value(weights: dict[str, float], report: int) -> float:
    return weights["fractional"] / (weights["fractional"] + 10 * weights["consistency"]) + 1 / report


class DoNothing(tune.Trainable):
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True


class Ours(DoNothing):
    """Reports what a training of three terms reports, without training."""

    def setup(self, config: dict[str, Any]) -> None:
        self.number = config["number"]
        self.order = config["order"]
        configuration = json.loads(config["configuration"])
        loss, self.epochs = configuration["loss"], configuration["train"]["epochs"]
        self.weights = {name: term["weight"] for name, term in loss.items()}
        self.epoch = 0

    def step(self) -> dict[str, Any]:
        self.epoch += 1
        terms = dict.fromkeys(self.weights, TermRecord(value=0.1, weight=1.0, contribution=0.3, gradient=0.1))
        metrics = dict.fromkeys(("sq_rel", "rmse", "rmse_log", "log10", "silog", "a1", "a2", "a3"), 0.5)
        record = EpochRecord(
            epoch=self.epoch,
            seconds=0.0,
            steps=1,
            train_loss=1.0,
            lr=1e-3,
            metrics={"abs_rel": value(self.weights, self.epoch), **metrics},
            measurements=measured_terms(terms),
        )
        environment = {"host": "h", "device": "cpu", "threads": 1, "commit": "", "versions": {}}
        report = {
            "attempt": str(self.number),
            "order": self.order,
            "resumed_from": 0,
            "protocol": {"crop": "none"},
            "environment": environment,
            "records": [record.to_plain()],
        }
        return {"number": self.number, "report": json.dumps(report), "done": self.epoch == self.epochs}


class Stock(DoNothing):
    def setup(self, config: dict[str, Any]) -> None:
        self.weights = config
        self.epoch = 0

    def step(self) -> dict[str, Any]:
        self.epoch += 1
        return {"abs_rel": value(self.weights, self.epoch), "done": self.epoch == REPORTS}


def time_ours(trials: int, folder: Path) -> float:
    path = folder / "study.yaml"
    path.write_text(STUDY.format(folder=folder, trials=trials, reports=REPORTS))
    run = StudyRun(load_study(path))
    started = time.perf_counter()
    run.search(Ours)
    seconds = time.perf_counter() - started
    states = [trial.state.name for trial in run.store.trials()]
    assert states == ["COMPLETE"] * trials, states
    assert all(len(trial.intermediate_values) == REPORTS for trial in run.store.trials())
    run.close()
    return seconds


def time_stock(trials: int, folder: Path) -> float:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder}/stock.db")
    space = {
        "fractional": optuna.distributions.FloatDistribution(0.1, 100, log=True),
        "consistency": optuna.distributions.FloatDistribution(0.01, 10, log=True),
    }
    search = OptunaSearch(space=space, metric="abs_rel", mode="min", storage=storage, study_name="stock")
    started = time.perf_counter()
    tune.run(
        Stock,
        search_alg=ConcurrencyLimiter(search, max_concurrent=2),
        num_samples=trials,
        resources_per_trial={"cpu": 1},
        reuse_actors=True,
        storage_path=str(folder / "ray"),
        verbose=0,
    )
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    times: dict[str, list[float]] = {"ours": [], "stock": []}
    with tempfile.TemporaryDirectory() as warm:
        time_ours(4, Path(warm))
    for _ in range(arguments.rounds):
        for name, timed in (("ours", time_ours), ("stock", time_stock)):
            with tempfile.TemporaryDirectory() as folder:
                times[name].append(timed(arguments.trials, Path(folder)))
            print(f"{name}: {times[name][-1] / arguments.trials:.4f} s a trial", flush=True)
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"ray": ray.__version__, "optuna": optuna.__version__, "python": platform.python_version()},
        "trials": arguments.trials,
        "reports_per_trial": REPORTS,
        "seconds_per_trial": {name: [s / arguments.trials for s in found] for name, found in times.items()},
        "median": {name: statistics.median(found) / arguments.trials for name, found in times.items()},
        "ratio_ours_to_stock": statistics.median(times["ours"]) / statistics.median(times["stock"]),
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
