"""Studies whose objective is a known function of their weights, written as a driver writes them, without training."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import RandomSampler
from PIL import Image

from tests.stores import HERE, driving
from weightsearch.records import (
    DELTA_BINS,
    HEADS,
    SHARED,
    EpochRecord,
    Measurements,
    Picture,
    TermRecord,
    joined,
    measured_terms,
)
from weightsearch.study.store import StudyStore
from weightsearch.study.writer import Attempt, Writer

EPOCHS = 8
DEPTH_GAIN = 6.1  # of a term on the depth that two heads make: its gradient at the heads by that at the depth
SHARED_GAIN = 9.2  # the same at the shared parameters
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
MU, PIXELS = 0.01, 20_000  # of Delta of what stands still, and of an epoch


def config(
    objectives: dict[str, str], baselines: dict[str, Any] = BASELINES, rebalance: Mapping[str, Any] | None = None
) -> dict[str, Any]:
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
    if rebalance is not None:
        tree["rebalance"] = dict(rebalance)
        tree["data"]["neighbours"] = [-1, 1]
    return {"tree": tree, "objectives": objectives, "baselines": baselines}


def quality(weights: dict[str, float], epoch: int, noise: random.Random) -> float:
    """abs_rel: best where fractional / consistency is 1, nearly there after EPOCHS."""
    off = math.log10(weights["fractional"] / weights["consistency"])
    return 0.16 + 0.02 * off**2 + 0.5 * math.exp(-epoch) + noise.gauss(0, 0.001)


def sigma(epoch: int) -> float:
    """The standard deviation of Delta over pixels that stand still."""
    return 0.04 + 0.06 * math.exp(-0.5 * epoch)


def reach(epoch: int) -> float:
    """The largest Delta of what moves."""
    return 0.1 + 0.4 * (1 - math.exp(-0.5 * epoch))


def balance(epoch: int, seed: int, options: Mapping[str, Any], *, known: bool = True) -> Measurements:
    """Delta of an epoch: N(MU, sigma²), and of every tenth pixel, which moves, even over [0, reach]. Flow's error falls
    by .3 where Delta rises by 1."""
    random = np.random.default_rng((seed, epoch))
    moves = np.arange(PIXELS) % 10 == 0
    delta = random.normal(MU, sigma(epoch), PIXELS).clip(-1, 1)
    delta[moves] = random.uniform(0, reach(epoch), moves.sum())
    error = 0.15 - 0.3 * delta + random.uniform(0, 0.05, PIXELS)
    eta, near = options["eta"], np.abs(delta - MU) <= options["eta"]
    kept = {
        "none": np.ones(PIXELS, bool),
        "negative": delta < 0,
        "minimum": delta < 0,
        "neighbourhood": near,
        "one_sided": delta - MU <= eta,
        "oracle": ~moves,
    }[options["method"]]
    left_out = int((~kept).sum())
    counts = (
        np.histogram(delta[which], DELTA_BINS, (-1, 1))[0]
        for which in ((~moves, moves) if known else (moves | ~moves, moves & ~moves))
    )
    quantities = {
        "mode": MU,
        "kept": float(kept.mean()),
        "flow_kept": 1.0,
        "mean": float(delta.mean()),
        "deviation": float(delta.std()),
        "below": float(error[delta < 0].mean()),
        "near": float(error[near].mean()),
        "moving_known": float(known),
    }
    if known:
        quantities["precision"] = float(moves[~kept].mean()) if left_out else math.nan
        quantities["recall"] = float((~kept)[moves].mean())
    rows = {
        joined(kind, str(place)): float(count)
        for kind, row in zip(("static", "moving"), counts, strict=True)
        for place, count in enumerate(row)
        if count
    }
    return {"rebalancing": quantities, "delta": rows}


def record(weights: dict[str, float], epoch: int, seed: int, rebalancing: Measurements | None = None) -> EpochRecord:
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
    gain = {term: DEPTH_GAIN if term == "consistency" else 1 for term in TERMS}
    shared_gain = {term: SHARED_GAIN if term == "consistency" else 1 for term in TERMS}
    cosines = {"integer/fractional": 0.0, "integer/consistency": 0.9, "fractional/consistency": -0.2}
    sampled = {
        "probe": {"probes": 1.0, "seconds": 0.03},
        "gradient": {joined(SHARED, term): 0.5 * weights[term] * shared_gain[term] for term in TERMS},
        "cosine": {joined(place, pair): cosine for place in (HEADS, SHARED) for pair, cosine in cosines.items()},
    }
    at_heads = {joined(HEADS, term): 0.01 * weights[term] * gain[term] for term in TERMS}
    return EpochRecord(
        epoch=epoch,
        seconds=2.0,
        steps=20,
        train_loss=sum(sizes.values()),
        lr=1e-3,
        metrics={"abs_rel": abs_rel, "rmse": 3 * abs_rel + noise.gauss(0, 0.02), "a1": 1 - abs_rel},
        measurements={**measured_terms(terms), "gradient": at_heads, **(rebalancing or {})},
        sampled=sampled if epoch % 3 == 0 else {},
    )


def pictures(frames: int = 2) -> list[Picture]:
    found = []
    for frame in range(frames):
        for place, kind in enumerate(("image", "truth", "depth", "error")):
            buffer = io.BytesIO()
            Image.new("RGB", (64, 48), (40 * place, 100, 50 * frame)).save(buffer, "WEBP")
            found.append(Picture(frame, kind, f"seq/frame-{frame}", 0.5, 4.0, buffer.getvalue()))
    return found


def train(
    writer: Writer,
    number: int,
    weights: dict[str, float],
    *,
    epochs: int = EPOCHS,
    rebalance: Mapping[str, Any] | None = None,
    known: bool = True,
) -> None:
    """The epochs of a running trial. rebalance: its section, without ranges."""
    attempt = Attempt(f"attempt-{number}", 0, PROTOCOL, HERE)
    for epoch in range(1, epochs + 1):
        found = None if rebalance is None else balance(epoch, number, rebalance, known=known)
        writer.record(number, attempt, record(weights, epoch, number, found))


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
    rebalance: Mapping[str, Any] | None = None,
    known: bool = True,
) -> None:
    """A study of so many trials after its baselines. Their states follow each other as in `states`; RUNNING trials stay
    so, with two epochs, and wait when the driver goes. rebalance: the section of the study file, whose method and eta
    may be ranges. known: whether the data set knows what moves."""
    objectives = {"abs_rel": "minimize"} if objectives is None else objectives
    with driving(url, name, config(objectives, baselines, rebalance)) as writer:
        if annotate is not None:
            writer.before_end = annotate(writer.store).before_end
        fill(writer, trials, states=states, baselines=baselines, reason=reason, rebalance=rebalance, known=known)


def fill(
    writer: Writer,
    trials: int,
    *,
    states: Sequence[str] = ("COMPLETE",),
    baselines: dict[str, Any] = BASELINES,
    reason: str = "",
    rebalance: Mapping[str, Any] | None = None,
    known: bool = True,
) -> None:
    """The trials of a study, in one transaction."""
    space = SPACE | _rebalance_space(rebalance or {})
    named = list(baselines.values())
    with writer.transaction():
        for label, values in baselines.items():
            writer.enqueue_baseline(label, {name: value for name, value in values.items() if name in space})
        for count in range(len(baselines) + trials):
            frozen = writer.ask(RandomSampler(seed=count), space)
            number = frozen.number
            values = named[count] if count < len(named) else frozen.params
            own = {name.partition(".")[2]: value for name, value in values.items() if name.startswith("rebalance.")}
            options: dict[str, Any] = {"rebalance": None if rebalance is None else {**rebalance, **own}, "known": known}
            weights = {"integer": 1.0} | {term: float(frozen.params[f"loss.{term}.weight"]) for term in TERMS[1:]}
            state = "COMPLETE" if count < len(baselines) else states[(count - len(baselines)) % len(states)]
            if state == "COMPLETE":
                train(writer, number, weights, **options)
                writer.complete(number, pictures=pictures())
            elif state == "PRUNED":
                train(writer, number, weights, epochs=1, **options)
                writer.prune(number)
            elif state == "FAIL":
                writer.fail(number, reason)
            else:
                train(writer, number, weights, epochs=2, **options)


def _rebalance_space(section: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {}
    for key, value in section.items():
        if isinstance(value, dict) and "choices" in value:
            found[f"rebalance.{key}"] = CategoricalDistribution(value["choices"])
        elif isinstance(value, dict):
            found[f"rebalance.{key}"] = FloatDistribution(value["low"], value["high"], log=value.get("log", False))
    return found
