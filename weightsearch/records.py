"""The records of a training that workers, driver and store share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

Direction = Literal["minimize", "maximize"]
Size = tuple[int, int]  # height, width in pixels
EvaluationSize = Size | Literal["native"]  # native: each picture at the size of its own files
# What networks predict and data sets know; moving: the pixels that move by themselves.
Quantity = Literal["depth", "pose", "flow", "moving"]

# The kinds of small pictures, in the order in which they are shown, and those that are the same whoever predicts.
PICTURES: Final = ("image", "truth", "depth", "error", "true flow", "flow", "left out")
SHARED_PICTURES: Final = ("image", "truth", "true flow")

# Where terms' gradients are measured. Heads: outputs that are not computed from other outputs, see losses/heads.py.
HEADS: Final = "heads"
SHARED: Final = "shared"  # parameters
OUTPUTS: Final = "outputs"  # each output a variable of its own


@dataclass(frozen=True)
class TermRecord:
    """One loss term over one epoch of training.

    value: mean of the unweighted term over the epoch's steps at which it had a pixel, in the term's unit; NaN if it
    never had. weight: its weight.
    contribution: its share of the sum of all |weight * value|, in [0, 1].
    gradient: root mean square over the steps of the norm of its weighted gradient at the network's outputs, each output
    a variable of its own: of several outputs the norm mixes units. at_heads: the same at the heads; None where heads
    are not defined or have several units.
    """

    value: float
    weight: float
    contribution: float
    gradient: float
    at_heads: float | None = None


@dataclass(frozen=True)
class Gradients:
    """The weighted terms' gradients at one place, means over an epoch's probes.

    norms: Euclidean norm by term. cosines: term -> a later term -> cosine between the two; those that are not defined,
    of a gradient that is 0, are left out.
    """

    norms: dict[str, float]
    cosines: dict[str, dict[str, float]]


@dataclass(frozen=True)
class ProbeRecord:
    """The results of an epoch's probes. places: HEADS and SHARED (parameters), see training/probe.py. seconds: what
    they took. problem: why no more of them are made."""

    probes: int
    seconds: float
    places: dict[str, Gradients]
    problem: str | None = None

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> ProbeRecord:
        return cls(**{**plain, "places": {place: Gradients(**found) for place, found in plain["places"].items()}})


@dataclass(frozen=True)
class RebalanceRecord:
    """The record of rebalancing in one epoch of training. Delta is the photometric error by depth and pose less that by
    flow, at every pixel that both warps keep.

    mode: mean of the estimated modes over the steps. kept, flow_kept: shares of the pixels that depth and pose, and
    flow, learned from. precision, recall: of the pixels left out, taken for moving ones, where the truth is known.
    static, moving: counts of Delta in REBALANCE_BINS even bins over [-1, 1], of pixels that stand still and of those
    that move; where the truth is not known all are `static`, and `known` is false.
    mean, deviation: of Delta. below, near: mean photometric error by flow where Delta < 0, and where
    |Delta - mode| <= eta; NaN where no pixel is.
    """

    mode: float
    kept: float
    flow_kept: float
    mean: float
    deviation: float
    below: float
    near: float
    static: tuple[int, ...]
    moving: tuple[int, ...]
    known: bool
    precision: float | None = None
    recall: float | None = None

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> RebalanceRecord:
        return cls(**{**plain, "static": tuple(plain["static"]), "moving": tuple(plain["moving"])})


REBALANCE_BINS: Final = 128
SELDOM: Final = 0.05  # of an epoch's steps; a term that has no pixel more often than that is told of
WITHOUT_PIXELS: Final = "without_pixels"  # in place of a split, in the table of metrics: counts of steps by loss term


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. epoch counts from 1. metrics: on the validation split, under the study's protocol.

    seconds: training and validation together. train_loss: mean of the weighted sum; a term counts at the steps at
    which it had a pixel. lr: at the epoch's end. empty_steps: steps whose batch had no pixel with valid depth.
    without_pixels: loss term -> steps at which it had no pixel to learn from, because depth and pose led out of the
    neighbour's picture for instance; only terms with such steps. probe: None for an epoch without one; when they are
    made goes by the clock, so that records of the same training may differ in it. rebalance: None without a `rebalance`
    section.
    """

    epoch: int
    seconds: float
    steps: int
    train_loss: float
    lr: float
    terms: dict[str, TermRecord]
    metrics: dict[str, float]
    empty_steps: int = 0
    without_pixels: dict[str, int] = field(default_factory=dict)
    probe: ProbeRecord | None = field(default=None, compare=False)
    rebalance: RebalanceRecord | None = None

    @property
    def warnings(self) -> list[str]:
        """See pixel_warnings."""
        weights = {name: term.weight for name, term in self.terms.items()}
        return pixel_warnings(self.without_pixels, self.steps, weights)

    def to_plain(self) -> dict[str, Any]:
        """Numbers, texts and mappings only: for JSON, for a checkpoint, for Ray."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> EpochRecord:
        terms = {name: TermRecord(**term) for name, term in plain["terms"].items()}
        probe, rebalance = plain.get("probe"), plain.get("rebalance")
        details = {
            "terms": terms,
            "probe": None if probe is None else ProbeRecord.from_plain(probe),
            "rebalance": None if rebalance is None else RebalanceRecord.from_plain(rebalance),
        }
        return cls(**{**plain, **details})


def pixel_warnings(without_pixels: Mapping[str, int], steps: int, weights: Mapping[str, float]) -> list[str]:
    """A sentence for each term in use that had no pixel to learn from at more than a few of an epoch's steps."""
    return [
        f"the loss term {term!r} had no pixel to learn from at {count} of {steps} steps, which gave it no "
        "gradient and do not count in its mean"
        for term, count in without_pixels.items()
        if weights.get(term, 0) > 0 and count > SELDOM * steps
    ]


@dataclass(frozen=True)
class Picture:
    """A small picture of one validation frame, for people. frame: its place in the split. kind: one of PICTURES;
    `depth` and `flow` are predicted, `error` is relative, `left out` is what depth and pose do not learn from. name:
    the frame's. low, high: metres, shares of the true depth, or pixels, at the ends of the colours; of `left out` high
    is its share. content: WebP."""

    frame: int
    kind: str
    name: str
    low: float
    high: float
    content: bytes


@dataclass(frozen=True)
class Environment:
    """Where and with what a trial was trained. versions: of Python and of the packages that results depend on.
    commit: of the git repository in the working folder, with `+` if it had changes; empty outside one. cpu: its model
    and instructions; empty in records of older versions."""

    host: str
    device: str
    threads: int
    commit: str
    versions: dict[str, str] = field(default_factory=dict)
    cpu: str = ""
