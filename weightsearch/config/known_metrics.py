"""The metrics that a study's network and data set allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from weightsearch.plugins import known_words
from weightsearch.records import BETTER

# The outputs of each network; a user's own network may have any of them.
GIVES: Final = {
    "co_training": ("depth", "pose", "flow"),
    "disparity": ("depth",),
    "dual_head": ("depth",),
    "encoder_decoder": ("depth",),
    "flow": ("flow",),
}
# Ground truth that a data set lacks, whatever its options.
LACKS: Final = {
    "file_list": ("pose", "flow", "moving"),
    "flow_pairs": ("depth", "pose", "moving"),
    "nyu": ("pose", "flow", "moving"),
    "seven_scenes": ("flow", "moving"),
}
ODOMETRY: Final = ("ate", "rpe_rot", "rpe_dir", "t_err", "r_err")


def possible(model: str, data: str, neighbours: Sequence[int]) -> tuple[str, ...]:
    """The possible metrics among records.BETTER. model, data, neighbours: as in the study file."""
    given = set(GIVES.get(model, ("depth", "pose", "flow")))
    if not neighbours and data != "flow_pairs":
        given &= {"depth"}
    known = {"depth", "pose", "flow", "moving"} - set(LACKS.get(data, ()))
    if not neighbours:
        known -= {"moving"}
    return tuple(name for name in BETTER if set(_needs(name)) <= known and _needs(name)[0] in given)


def _needs(metric: str) -> tuple[str, ...]:
    """The quantities that a metric needs: first the predicted one, whose ground truth it needs too, then others of the
    ground truth."""
    of = "pose" if metric in ODOMETRY else "flow" if metric.startswith(("epe", "f1_")) else "depth"
    return (of, "moving") if metric.endswith(("_static", "_moving")) else (of,)


def refusal(name: str, possible_ones: Sequence[str]) -> str:
    """The error for a metric that is not possible, with the possible ones."""
    if name in BETTER:
        return f"cannot be measured with this network and data set; possible: {', '.join(possible_ones)}"
    return f"unknown metric{known_words(name, possible_ones)}"
