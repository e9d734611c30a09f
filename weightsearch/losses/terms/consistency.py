"""The decoded depth's L1 error."""

from __future__ import annotations

from weightsearch.losses.terms.mae import MAE


class Consistency(MAE):
    """mean |depth - y| over valid pixels, metres: ties the two heads together through the decoded depth.

    Reads prediction["depth"], metres, [B, 1, H, W]. Source: the dual-head variant of PackNet-SfM.
    """

    def __init__(self) -> None:
        super().__init__(space="depth")
