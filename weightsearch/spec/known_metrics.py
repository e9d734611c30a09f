"""The metrics that a study can have, as far as that follows from its network and data set alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from weightsearch.plugins import known_words
from weightsearch.records import BETTER

# What a network gives besides depth; one of somebody else's may give anything.
GIVES: Final = {
    "co_training": ("depth", "pose", "flow"),
    "disparity": ("depth",),
    "dual_head": ("depth",),
    "encoder_decoder": ("depth",),
    "flow": ("flow",),
}
# What a data set lacks, whatever its options.
LACKS: Final = {
    "file_list": ("pose", "flow", "moving"),
    "flow_pairs": ("depth", "pose", "moving"),
    "nyu": ("pose", "flow", "moving"),
    "seven_scenes": ("flow", "moving"),
}
ODOMETRY: Final = ("ate", "rpe_rot", "rpe_dir", "t_err", "r_err")


def possible(model: str, data: str, neighbours: Sequence[int]) -> tuple[str, ...]:
    """Those of records.BETTER. model, data: names in the study file; neighbours: of its data section."""
    given = set(GIVES.get(model, ("depth", "pose", "flow")))
    if not neighbours and data != "flow_pairs":
        given &= {"depth"}
    known = {"depth", "pose", "flow", "moving"} - set(LACKS.get(data, ()))
    if not neighbours:
        known -= {"moving"}
    return tuple(name for name in BETTER if set(_needs(name)) <= known and _needs(name)[0] in given)


def _needs(metric: str) -> tuple[str, ...]:
    """What must be predicted, and known, for a metric; then what else must be known."""
    of = "pose" if metric in ODOMETRY else "flow" if metric.startswith(("epe", "f1_")) else "depth"
    return (of, "moving") if metric.endswith(("_static", "_moving")) else (of,)


def refusal(name: str, possible_ones: Sequence[str]) -> str:
    """Why a metric cannot be had, and which can."""
    if name in BETTER:
        return f"cannot be measured with this network and data set; possible: {', '.join(possible_ones)}"
    return f"unknown metric{known_words(name, possible_ones)}"
