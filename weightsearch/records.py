"""The records of a training, shared by workers, driver and store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field
from typing import Any, Final, Literal

Direction = Literal["minimize", "maximize"]
Size = tuple[int, int]  # height, width in pixels
EvaluationSize = Size | Literal["native"]  # native: each picture at the size of its own files
# Quantities that networks predict and data sets know; moving: the mask of moving objects.
Quantity = Literal["depth", "pose", "flow", "moving"]

VALIDATION: Final = "validation"  # the split of objectives and verdicts
TEST: Final = "test"  # measured after the search, for information only
EVALUATED: Final = (VALIDATION, TEST)  # splits on which trials are evaluated

# The kinds of small pictures, in the order in which they are shown, and the kinds that do not depend on the prediction.
PICTURES: Final = ("image", "truth", "depth", "error", "true flow", "flow", "left out")
SHARED_PICTURES: Final = ("image", "truth", "true flow")

# Places of measurement of the terms' gradients.
HEADS: Final = "heads"  # outputs that are not computed from other outputs, see losses/heads.py
SHARED: Final = "shared"  # shared parameters

Measurements = Mapping[str, Mapping[str, float]]  # group -> name -> value of one epoch


@dataclass(frozen=True)
class Group:
    """A kind of measurement of an epoch of training: rows (name, value), stored under the group's name.

    keys: the parts of a row's name, in order: the cosine `shared/integer/fractional` has the keys place, term, other.
    meaning: description of the value, with its source. unit: of the value; empty for a dimensionless number.
    """

    name: str
    keys: tuple[str, ...]
    meaning: str
    unit: str = ""


METRIC: Final = Group("metric", ("split", "metric"), "Metric under the study's protocol", "the metric's own")


def joined(*keys: str) -> str:
    """The name of a row with these keys."""
    return "/".join(keys)


def parts(name: str) -> tuple[str, ...]:
    """The keys of a row's name."""
    return tuple(name.split("/"))


def rows_at(group: Mapping[str, float], *first: str) -> dict[str, float]:
    """The rows of a group whose names begin with these keys; the keys are removed from the names."""
    start = joined(*first, "")
    return {name.removeprefix(start): value for name, value in group.items() if name.startswith(start)}


@dataclass(frozen=True)
class TermRecord:
    """One loss term over one epoch of training: the groups of training/measures/terms.py.

    value: mean of the unweighted term, in the term's unit; NaN if it never had a pixel. weight: the term's weight.
    contribution: its share of the sum of all |weight * value|, in [0, 1]. gradient: norm of the weighted term's
    gradient at the network's outputs.
    """

    value: float
    weight: float
    contribution: float
    gradient: float


TERM_GROUPS: Final = ("value", "weight", "contribution", "output_gradient")  # in the order of TermRecord's fields
DELTA_BINS: Final = 128  # bins of the histograms of Delta over [-1, 1]
SELDOM: Final = 0.05  # share of an epoch's steps without pixels above which there is a warning about a term


@dataclass(frozen=True)
class EpochRecord:
    """The record of an epoch. epoch: counted from 1. metrics: on the validation split, under the study's protocol.

    seconds: training and validation together. train_loss: mean of the weighted sum; a term counts at the steps at which
    it had a pixel. lr: learning rate at the epoch's end. empty_steps: steps whose batch had no pixel with valid depth.
    measurements: from every step, see training/measures. sampled: from the steps with a probe; these depend on time, so
    records of the same training may differ in them. problem: the reason why there are no more probes.
    """

    epoch: int
    seconds: float
    steps: int
    train_loss: float
    lr: float
    metrics: dict[str, float]
    measurements: Measurements = field(default_factory=dict)
    sampled: Measurements = field(default_factory=dict, compare=False)
    empty_steps: int = 0
    problem: str | None = field(default=None, compare=False)

    @property
    def all_measurements(self) -> dict[str, dict[str, float]]:
        """The rows of all groups. A value measured at every step replaces a sampled one."""
        groups = dict.fromkeys([*self.sampled, *self.measurements])
        return {group: {**self.sampled.get(group, {}), **self.measurements.get(group, {})} for group in groups}

    @property
    def terms(self) -> dict[str, TermRecord]:
        return term_records(self.measurements)

    @property
    def warnings(self) -> list[str]:
        """See pixel_warnings."""
        return pixel_warnings(
            self.measurements.get("without_pixels", {}), self.steps, self.measurements.get("weight", {})
        )

    def to_plain(self) -> dict[str, Any]:
        """The record as numbers, texts and mappings, for JSON, checkpoints and Ray."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> EpochRecord:
        return cls(**plain)


def term_records(measurements: Measurements) -> dict[str, TermRecord]:
    """The loss terms of one epoch, in their order in the study file."""
    columns = [measurements.get(group, {}) for group in TERM_GROUPS]
    return {name: TermRecord(*(column.get(name, math.nan) for column in columns)) for name in columns[0]}


def measured_terms(terms: Mapping[str, TermRecord]) -> dict[str, dict[str, float]]:
    """The rows of loss terms, by group."""
    rows = {name: astuple(term) for name, term in terms.items()}
    return {group: {name: row[column] for name, row in rows.items()} for column, group in enumerate(TERM_GROUPS)}


def pixel_warnings(without_pixels: Mapping[str, float], steps: int, weights: Mapping[str, float]) -> list[str]:
    """A sentence for each term with a weight above 0 that had no pixels at more than a few steps of an epoch."""
    return [
        f"the loss term {term!r} had no pixel to learn from at {count:.0f} of {steps} steps, which gave it no "
        "gradient and do not count in its mean"
        for term, count in without_pixels.items()
        if weights.get(term, 0) > 0 and count > SELDOM * steps
    ]


@dataclass(frozen=True)
class Picture:
    """A small picture of a validation frame, for display. frame: its index in the split. kind: one of PICTURES; `depth`
    and `flow` are predicted, `error` is relative, `left out` shows the pixels that depth and pose do not learn from.
    name: the frame's name. low, high: values at the ends of the colour map, in metres, shares of the true depth, or
    pixels; for `left out`, high is the share of these pixels. content: WebP."""

    frame: int
    kind: str
    name: str
    low: float
    high: float
    content: bytes


@dataclass(frozen=True)
class Environment:
    """The environment of a trial's training. versions: of Python and of the packages that results depend on. commit: of
    the git repository in the working folder, with `+` if it had changes; empty outside a repository. cpu: model and
    instruction sets; empty in records of older versions."""

    host: str
    device: str
    threads: int
    commit: str
    versions: dict[str, str] = field(default_factory=dict)
    cpu: str = ""
