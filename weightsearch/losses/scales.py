"""Depth predictions at several scales."""

from __future__ import annotations

import re

from torch import Tensor

from weightsearch.losses.term import Prediction


def depth_scales(prediction: Prediction) -> list[Tensor]:
    """The outputs `depth`, `depth_2`, `depth_4`, ..., finest first, metres, [B, 1, H / k, W / k]."""
    coarser = sorted((int(name[6:]), name) for name in prediction if re.fullmatch(r"depth_[0-9]+", name))
    return [prediction["depth"], *(prediction[name] for _, name in coarser)]
