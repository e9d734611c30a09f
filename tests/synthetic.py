"""Studies whose objective is a known function of their weights, written as a driver writes them, without training."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import RandomSampler
from PIL import Image

from tests.stores import HERE, driving
from weightsearch.records import EpochRecord, Gradients, Picture, ProbeRecord, TermRecord
from weightsearch.study.store import StudyStore
from weightsearch.study.writer import Attempt, Writer

EPOCHS = 8
TERMS = ("integer", "fractional", "consistency")
SPACE: dict[str, BaseDistribution] = {
    "loss.fractional.weight": FloatDistribution(0.1, 100, log=True),
    "loss.consistency.weight": FloatDistribution(0.01, 10, log=True),
    "model.decode": CategoricalDistribution(["linear", "rounded"]),
}
PROTOCOL = {"split": "validation", "crop": "none", "min_depth": 0.3, "max_depth": 6.0, "size": [96, 128], "bits": None}
BASELINES = {
    "published": {"loss.fractional.weight": 10, "loss.consistency.weight": 0.5, "model.decode": "linear"},
    "equal": {"loss.fractional.weight": 1, "loss.consistency.weight": 1, "model.decode": "linear"},
}


def spec(objectives: dict[str, str], baselines: dict[str, Any] = BASELINES) -> dict[str, Any]:
    tree = {
        "name": "synthetic",
        "data": {"name": "procedural", "size": [96, 128], "min_depth": 0.3, "max_depth": 6.0},
        "model": {"name": "dual_head"},
        "loss": {
            "integer": {"weight": 1.0},
            "fractional": {"weight": {"low": 0.1, "high": 100, "log": True}},
            "consistency": {"weight": {"low": 0.01, "high": 10, "log": True}},
        },
        "train": {"epochs": EPOCHS, "lr": 1e-3},
    }
    return {"tree": tree, "objectives": objectives, "baselines": baselines}


def quality(weights: dict[str, float], epoch: int, noise: random.Random) -> float:
    """abs_rel: best where fractional / consistency is 1, nearly there after EPOCHS."""
    off = math.log10(weights["fractional"] / weights["consistency"])
    return 0.16 + 0.02 * off**2 + 0.5 * math.exp(-epoch) + noise.gauss(0, 0.001)


def record(weights: dict[str, float], epoch: int, seed: int) -> EpochRecord:
    noise = random.Random(f"{seed}-{epoch}")
    values = {"integer": 0.2, "fractional": 0.25, "consistency": 1.2}
    sizes = {term: weights[term] * values[term] * math.exp(-0.3 * epoch) for term in TERMS}
    terms = {
        term: TermRecord(
            values[term] * math.exp(-0.3 * epoch),
            weights[term],
            sizes[term] / sum(sizes.values()),
            0.01 * weights[term],
        )
        for term in TERMS
    }
    abs_rel = quality(weights, epoch, noise)
    norms = {term: 0.5 * weights[term] for term in TERMS}
    cosines = {"integer": {"fractional": 0.0, "consistency": 0.9}, "fractional": {"consistency": -0.2}}
    gradients = Gradients(norms, cosines)
    return EpochRecord(
        epoch=epoch,
        seconds=2.0,
        steps=20,
        train_loss=sum(sizes.values()),
        lr=1e-3,
        terms=terms,
        metrics={"abs_rel": abs_rel, "rmse": 3 * abs_rel + noise.gauss(0, 0.02), "a1": 1 - abs_rel},
        probe=ProbeRecord(1, 0.03, {"heads": gradients, "shared": gradients}) if epoch % 3 == 0 else None,
    )


def pictures(frames: int = 2) -> list[Picture]:
    found = []
    for frame in range(frames):
        for place, kind in enumerate(("image", "truth", "depth", "error")):
            buffer = io.BytesIO()
            Image.new("RGB", (64, 48), (40 * place, 100, 50 * frame)).save(buffer, "WEBP")
            found.append(Picture(frame, kind, f"seq/frame-{frame}", 0.5, 4.0, buffer.getvalue()))
    return found


def train(writer: Writer, number: int, weights: dict[str, float], *, epochs: int = EPOCHS) -> None:
    """The epochs of a running trial."""
    attempt = Attempt(f"attempt-{number}", 0, PROTOCOL, HERE)
    for epoch in range(1, epochs + 1):
        writer.record(number, attempt, record(weights, epoch, number))


def synthetic(
    url: str,
    trials: int = 40,
    *,
    name: str = "synthetic",
    objectives: dict[str, str] | None = None,
    states: Sequence[str] = ("COMPLETE", "PRUNED", "PRUNED"),
    baselines: dict[str, Any] = BASELINES,
    reason: str = "the loss term 'integer' is not finite, in epoch 1, step 1",
    annotate: Callable[[StudyStore], Any] | None = None,
) -> None:
    """A study of so many trials after its baselines. Their states follow each other as in `states`; RUNNING trials stay
    so, with two epochs, and wait when the driver goes."""
    objectives = {"abs_rel": "minimize"} if objectives is None else objectives
    with driving(url, name, spec(objectives, baselines)) as writer:
        if annotate is not None:
            writer.before_end = annotate(writer.store).before_end
        fill(writer, trials, states=states, baselines=baselines, reason=reason)


def fill(
    writer: Writer,
    trials: int,
    *,
    states: Sequence[str] = ("COMPLETE",),
    baselines: dict[str, Any] = BASELINES,
    reason: str = "",
) -> None:
    """The trials of a study, in one transaction."""
    with writer.act():
        for label, values in baselines.items():
            writer.enqueue_baseline(label, values)
        for count in range(len(baselines) + trials):
            frozen = writer.ask(RandomSampler(seed=count), SPACE)
            number = frozen.number
            weights = {"integer": 1.0} | {term: float(frozen.params[f"loss.{term}.weight"]) for term in TERMS[1:]}
            state = "COMPLETE" if count < len(baselines) else states[(count - len(baselines)) % len(states)]
            if state == "COMPLETE":
                train(writer, number, weights)
                writer.complete(number, pictures=pictures())
            elif state == "PRUNED":
                train(writer, number, weights, epochs=1)
                writer.prune(number)
            elif state == "FAIL":
                writer.fail(number, reason)
            else:
                train(writer, number, weights, epochs=2)
