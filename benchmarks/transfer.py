"""The transfer system on real data: three samplers at the same budget, the ablation, the weights on other data.

    python -m benchmarks.transfer samplers|ablation|carry|pretrained [--data DIR] [--seeds 3] [--folder DIR]
        [--output FILE]

samplers: `studies/transfer_7scenes.yaml` by tpe, grid and random, 40 trials each; then the winner of each, the published
weights and equal weights trained with new seeds. ablation: each term removed in turn, and alone. carry: the best
weights of 7-Scenes on KITTI's drive, and the other way round. pretrained: the same training with a pretrained and with a
random encoder, the curves. --data: a folder with `7scenes`, `kitti_raw` and `weights` (WEIGHTSEARCH_DATA). What was
trained before in --folder is not trained again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from weightsearch.compare.studies import Compared, Listener, candidates, new_seeds, train_candidate
from weightsearch.config import load_study
from weightsearch.runtime.device import choose_device
from weightsearch.study.store import StudyStore
from weightsearch.training.run import train

ROOT = Path(__file__).parents[1]
OBJECTIVE = "abs_rel"
METRICS = ("abs_rel", "rmse", "log10")
PAIR = ("published", "equal")
SAMPLERS = {"tpe": "tpe", "random": "random", "grid": "{name: grid, points: 6}"}
SEVEN = "7scenes/redkitchen"
KITTI = (
    "data={name: kitti_raw, root: %s, size: [96, 320], min_depth: 1.0, max_depth: 80.0, "
    "split: {train: 0.6, validation: 0.2, test: 0.2, gap: 2}}"
)


class Studies:
    """Studies run in one folder, opened for reading. sets: of every study."""

    def __init__(self, folder: Path, data: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.data = data
        self.stack = stack

    def run(self, name: str, file: str, *sets: str) -> Compared:
        path = ROOT / "studies" / file
        weights = self.data / "weights" / "tf_efficientnet_lite0.safetensors"
        where = [f"data.root={self.data / SEVEN}", f"model.weights={weights}"]
        every = [*where, f"name={name}", f"storage=sqlite:///{name}.db", *sets]
        words = [word for one in every for word in ("--set", one)]
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "weightsearch", "run", str(path), *words], check=True)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)
        config = load_study(path, every)
        store = StudyStore.open(config.storage, config.name)
        self.stack.callback(store.close)
        return Compared.of(store)


def trained(study: Compared, label: str, values: Mapping[str, Any], seeds: int) -> dict[str, Any]:
    """Every metric of a set of values over new seeds, mean and spread."""
    retrained = new_seeds(study, seeds)
    row: dict[str, Any] = {"study": study.summary.study, "label": label}
    for metric in METRICS:
        entry = train_candidate(study, label, values, metric, retrained, "auto", Listener(partial(print, flush=True)))
        row["weights"] = entry.weights
        row[metric] = {split: [entry.mean(split), entry.spread(split)] for split in entry.values}
        if entry.problem:
            row["problem"] = entry.problem
    print(json.dumps(row), flush=True)
    return row


def samplers(studies: Studies, seeds: int) -> list[dict[str, Any]]:
    found = {
        name: studies.run(f"transfer_{name}", "transfer_7scenes.yaml", f"search.sampler={sampler}")
        for name, sampler in SAMPLERS.items()
    }
    rows: list[dict[str, Any]] = []
    for name, study in found.items():
        best = study.summary.best
        assert best is not None
        searched = {
            "sampler": name,
            "trial": best.number,
            "baseline": best.baseline,
            "states": study.summary.states,
            "validation": {metric: study.store.metrics(best.number)[metric] for metric in METRICS},
            "test": {metric: study.store.metrics(best.number, "test").get(metric) for metric in METRICS},
        }
        rows.append({**trained(study, "best", best.params, seeds), "searched": searched})
    one = found["tpe"]
    rows += [trained(one, label, one.summary.baselines[label].params, seeds) for label in PAIR]
    return rows


def ablation(studies: Studies, seeds: int) -> list[dict[str, Any]]:
    study = studies.run("ablation", "transfer_ablation_7scenes.yaml")
    return [trained(study, label, trial.params, seeds) for label, trial in study.summary.baselines.items()]


def carry(studies: Studies, seeds: int) -> list[dict[str, Any]]:
    indoor = studies.run("transfer_tpe", "transfer_7scenes.yaml")
    # A short drive: as many steps as on 7-Scenes take more epochs.
    outdoor = studies.run(
        "transfer_kitti", "transfer_7scenes.yaml", KITTI % (studies.data / "kitti_raw"), "train.epochs=18"
    )
    rows: list[dict[str, Any]] = []
    for study, other in ((indoor, outdoor), (outdoor, indoor)):
        rows += [trained(study, label, values, seeds) for label, values in candidates(study, [other], PAIR).items()]
    return rows


def pretrained(studies: Studies, seeds: int) -> list[dict[str, Any]]:
    """Both curves, an epoch a value, for every seed."""
    one = studies.run("transfer_tpe", "transfer_7scenes.yaml")
    rows: list[dict[str, Any]] = []
    for weights in (one.config.base.model.options["weights"], "none"):
        values = {**one.summary.baselines["published"].params, "model.weights": weights, "train.early_stopping": None}
        label = "random encoder" if weights == "none" else "pretrained encoder"
        curves: list[list[float]] = []
        for seed in new_seeds(one, seeds):
            print(f"{label}, seed {seed}", flush=True)
            configuration = one.config.configuration(values).model_copy(update={"seed": seed})
            folder = Path("curves") / f"{label.replace(' ', '-')}-{seed}"
            result = train(configuration, folder, choose_device(configuration, "auto"))
            curves.append([record["metrics"][OBJECTIVE] for record in result["history"]])
        rows.append({"label": label, "metric": f"validation {OBJECTIVE}", "curves": curves})
    return rows


SECTIONS: dict[str, Callable[[Studies, int], list[dict[str, Any]]]] = {
    "samplers": samplers,
    "ablation": ablation,
    "carry": carry,
    "pretrained": pretrained,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=SECTIONS)
    default = os.environ.get("WEIGHTSEARCH_DATA", str(ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("transfer"))
    parser.add_argument("--output", type=Path)
    words = parser.parse_args()
    output = None if words.output is None else words.output.absolute()
    data = words.data.absolute()
    words.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(words.folder)
    started = time.monotonic()
    with ExitStack() as stack:
        rows = SECTIONS[words.part](Studies(words.folder, data, stack), words.seeds)
    result = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "torch": torch.__version__,
        "seconds": round(time.monotonic() - started),
        "seeds": words.seeds,
        "rows": rows,
    }
    print(json.dumps(result, indent=2))
    if output is not None:
        output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
