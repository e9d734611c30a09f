"""What a training tells of itself: the words that workers, driver and store share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

Direction = Literal["minimize", "maximize"]

# The metrics, and which way each is better.
BETTER: Final[Mapping[str, Direction]] = MappingProxyType(
    {
        "abs_rel": "minimize",
        "sq_rel": "minimize",
        "rmse": "minimize",
        "rmse_log": "minimize",
        "log10": "minimize",
        "silog": "minimize",
        "a1": "maximize",
        "a2": "maximize",
        "a3": "maximize",
    }
)


@dataclass(frozen=True)
class TermRecord:
    """One loss term over one epoch of training.

    value: mean of the unweighted term over the epoch's steps, in the term's unit. weight: its weight.
    contribution: its share of the sum of all |weight * value|, in [0, 1].
    gradient: root mean square over the steps of the norm of its weighted gradient at the network's outputs.
    """

    value: float
    weight: float
    contribution: float
    gradient: float


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. epoch counts from 1. metrics: on the validation split, under the study's protocol.

    seconds: training and validation together. train_loss: mean of the weighted sum. lr: at the epoch's end.
    empty_steps: steps whose batch had no valid pixel at all.
    """

    epoch: int
    seconds: float
    steps: int
    train_loss: float
    lr: float
    terms: dict[str, TermRecord]
    metrics: dict[str, float]
    empty_steps: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Numbers, texts and mappings only: for JSON, for a checkpoint, for Ray."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> EpochRecord:
        terms = {name: TermRecord(**term) for name, term in plain["terms"].items()}
        return cls(**{**plain, "terms": terms})


@dataclass(frozen=True)
class Environment:
    """Where and with what a trial was trained. versions: of Python and of the packages that results depend on.
    commit: of the git repository in the working folder, with `+` if it had changes; empty outside one."""

    host: str
    device: str
    threads: int
    commit: str
    versions: dict[str, str] = field(default_factory=dict)
