"""Does rebalancing help depth and odometry where things move by themselves? Every method from the same warm-up.

    python -m benchmarks.cotraining --seeds 5 --jobs 2 --output benchmarks/results/cotraining
    python -m benchmarks.cotraining --seeds 5 --method found='{method: one_sided, eta: 0.05}' \
        --method negative='{method: negative}' ...

For each seed, which also draws the streets and the cars, the networks of `studies/cotraining.yaml` are trained together
up to the end of the warm-up, once. From there every method goes on by itself: the same frames in the same order, the
same numbers to begin with. Printed are means and standard deviations over the seeds and paired t-tests against `none`;
`summary.json` has them together with what predictors that look at no picture reach, and how well Delta finds what
moves, epoch by epoch. What is done is kept in the output folder, a file a seed: given again, it
goes on, also with a method more.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from scipy.stats import ttest_rel

from weightsearch.config import load_base
from weightsearch.config.schema import Configuration
from weightsearch.data.dataset import Dataset, open_dataset
from weightsearch.evaluation.naive import naive_metrics
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.files import write_text
from weightsearch.older_records import from_older
from weightsearch.records import DELTA_BINS, EpochRecord, parts
from weightsearch.runtime.device import choose_device
from weightsearch.runtime.environment import describe_environment
from weightsearch.systems.cotraining.detection import area, roc, spread
from weightsearch.training.loop import Trainer

STUDY = Path(__file__).parents[1] / "studies" / "cotraining.yaml"
METHODS: dict[str, dict[str, Any]] = {
    "none": {"method": "none"},
    "minimum": {"method": "minimum"},
    "oracle": {"method": "oracle"},
}
METRICS = (
    "abs_rel",
    "abs_rel_static",
    "abs_rel_moving",
    "ate",
    "rpe_rot",
    "rpe_dir",
    "epe",
    "epe_noc",
    "epe_noc_static",
    "epe_noc_moving",
)


def configuration_of(seed: int, sets: list[str], rebalance: Mapping[str, Any]) -> Configuration:
    warmup = {"warmup_epochs": load_base(STUDY, sets).rebalance.warmup_epochs}  # type: ignore[union-attr]
    options = {**warmup, **rebalance}
    usual = ["loss.photometric_flow.weight=1", "loss.smooth_depth.weight=0.001", "loss.smooth_flow.weight=0.01"]
    usual += ["loss.epipolar.weight=0", "train.lr=0.002", "analysis={budget: 0, pictures: 0}"]
    own = [f"seed={seed}", f"data.seed={seed}", f"rebalance={json.dumps(options)}"]
    return load_base(STUDY, [*usual, *sets, *own])


def detection(record: EpochRecord) -> dict[str, float]:
    """The detection of moving pixels by Delta in an epoch of training."""
    found = record.measurements["rebalancing"]
    counts = np.zeros((2, DELTA_BINS))
    for name, count in record.measurements["delta"].items():
        kind, place = parts(name)
        counts[("static", "moving").index(kind), int(place)] = count
    shares = {"kept": found["kept"], "moving": float(counts[1].sum() / counts.sum())}
    left_out = {name: found[name] for name in ("precision", "recall") if found.get(name, math.nan) == found.get(name)}
    areas = {
        f"auc_{score}": area(curve.fpr, curve.tpr)
        for score in ("signed", "absolute")
        if (curve := roc(*counts, score, found["mode"]))
    }
    return {"epoch": record.epoch, "mode": found["mode"], "spread": spread(counts[0]), **shares, **left_out, **areas}


def file_of(output: Path, seed: int) -> Path:
    return output / f"seed-{seed}.json"


def known(path: Path, sets: list[str], methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The results that a seed's file has already."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"sets": sets, "methods": {}}
    done = kept["methods"]
    if kept["sets"] != sets or any(done[name]["rebalance"] != one for name, one in methods.items() if name in done):
        raise SystemExit(f"{path} is of other methods or settings")
    return kept


def one_seed(seed: int, sets: list[str], methods: Mapping[str, Mapping[str, Any]], asked: str, output: Path) -> None:
    """Whichever of these methods the seed's file does not have is added to it, each as soon as it is done."""
    first = configuration_of(seed, sets, METHODS["none"])
    assert first.rebalance is not None
    path = file_of(output, seed)
    kept = known(path, sets, methods)
    done = kept["methods"]
    missing = {name: one for name, one in methods.items() if name not in done}
    if not missing:
        return
    device = choose_device(first, asked)
    dataset = open_dataset(first)
    kept["naive"] = naive_metrics(dataset, "validation", protocol_of(first, "validation"), 8)
    kept["environment"] = asdict(describe_environment(device, first.resources.cpus_per_trial))
    warm = Trainer(first, dataset, device)
    for _ in range(first.rebalance.warmup_epochs):
        _told(seed, "warm-up", warm.train_epoch())
    state = copy.deepcopy(warm.state())
    for name, rebalance in missing.items():
        configuration = configuration_of(seed, sets, rebalance)
        found = _from_there(configuration, dataset, device, state, f"{seed} {name}")
        done[name] = {"rebalance": rebalance, "date": str(date.today()), **found}
        write_text(path, json.dumps(kept, indent=1) + "\n")


def _from_there(
    configuration: Configuration, dataset: Dataset, device: torch.device, state: Mapping[str, Any], who: str
) -> dict[str, Any]:
    trainer = Trainer(configuration, dataset, device)
    trainer.network.load_state_dict(copy.deepcopy(state["network"]))
    trainer.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
    trainer.history = [EpochRecord.from_plain(from_older(plain)) for plain in state["history"]]
    while not trainer.done:
        _told(who, "", trainer.train_epoch())
    curve = [{name: record.metrics[name] for name in METRICS} for record in trainer.history]
    return {"metrics": curve[-1], "curve": curve, "detection": [detection(record) for record in trainer.history]}


def _told(who: Any, what: str, record: EpochRecord) -> None:
    metrics = " ".join(f"{name} {record.metrics[name]:.4f}" for name in ("abs_rel_static", "ate", "epe_noc"))
    print(f"seed {who} {what} epoch {record.epoch}: {metrics}, {record.seconds:.0f} s", flush=True)


def summary(seeds: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Means, standard deviations and paired tests against `none`, by method and metric, of the methods that all seeds
    have; and the naive predictors' means."""
    shared = set.intersection(*(set(seed["methods"]) for seed in seeds.values()))

    def values(method: str, metric: str) -> np.ndarray[Any, Any]:
        return np.array([seed["methods"][method]["metrics"][metric] for seed in seeds.values()])

    def compared(method: str, metric: str) -> dict[str, float]:
        mine, plain = values(method, metric), values("none", metric)
        found = {"mean": float(mine.mean()), "change": float((mine - plain).mean())}
        if len(mine) > 1:
            found["sd"] = float(mine.std(ddof=1))
            if not np.array_equal(mine, plain):
                found["p"] = float(ttest_rel(mine, plain).pvalue)
        return found

    naive: dict[str, dict[str, list[float]]] = {}
    for seed in seeds.values():
        for who, metrics in seed["naive"].items():
            for metric, value in metrics.items():
                naive.setdefault(who, {}).setdefault(metric, []).append(value)
    return {
        "seeds": list(seeds),
        "methods": {name: {metric: compared(name, metric) for metric in METRICS} for name in sorted(shared)},
        "detection": {
            name: _detection_of([seed["methods"][name] for seed in seeds.values()]) for name in sorted(shared)
        },
        "naive": {who: {metric: float(np.mean(one)) for metric, one in of.items()} for who, of in naive.items()},
    }


def _detection_of(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Means over the seeds of what each epoch says of Delta, where all of them say it."""
    epochs = zip(*(run["detection"] for run in runs), strict=True)
    return [
        {name: float(np.mean([one[name] for one in same])) for name in same[0] if all(name in one for one in same)}
        for same in epochs
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=1, help="the first seed; the study's own is 0")
    parser.add_argument("--method", action="append", default=[], metavar="NAME={...}", help="a rebalance section more")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="path=value")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, required=True, help="a folder")
    given = parser.parse_args()
    methods = dict(METHODS)
    for text in given.method:
        name, _, section = text.partition("=")
        methods[name] = yaml.safe_load(section)
    given.output.mkdir(parents=True, exist_ok=True)
    seeds = range(given.first, given.first + given.seeds)
    for seed in seeds:
        known(file_of(given.output, seed), given.sets, methods)
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(one_seed, seed, given.sets, methods, given.device, given.output) for seed in seeds]
        for task in tasks:
            task.result()
    whole = summary({seed: known(file_of(given.output, seed), given.sets, methods) for seed in seeds})
    write_text(given.output / "summary.json", json.dumps(whole, indent=1) + "\n")
    for name, metrics in whole["methods"].items():
        line = " ".join(
            f"{metric} {one['mean']:.4f} ± {one.get('sd', 0):.4f}" + (f" (p {one['p']:.3f})" if "p" in one else "")
            for metric, one in metrics.items()
            if metric in ("abs_rel", "abs_rel_static", "ate", "epe_noc")
        )
        print(f"{name}: {line}")


if __name__ == "__main__":
    main()
