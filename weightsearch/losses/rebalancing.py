"""Selection of the pixels that depth and pose, and flow, learn from: moving objects impair depth and odometry.

Source of the method `neighbourhood`: CoopNet (WACV 2023). Its main text was not available; `config.schema.Rebalance`
reconstructs the method from the supplementary material.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from weightsearch.config.schema import Rebalance
from weightsearch.data.batch import Batch
from weightsearch.errors import ModelError
from weightsearch.geometry.occlusion import visible
from weightsearch.losses.mode import ESTIMATORS
from weightsearch.losses.pairs import depth_flow, predicted_poses, warped
from weightsearch.losses.photometric_error import ALPHA
from weightsearch.losses.pixel_masks import Balance
from weightsearch.losses.term import Prediction

FEWEST_VISIBLE: Final = 0.5  # share of visible pixels; with fewer the flow is too inaccurate to detect occlusion


class Rebalancing:
    """The masks of the `rebalance` section. options: the section. __call__ compares the two photometric errors of a
    batch for a prediction with `depth`, `pose` and `flow` (and `backward_flow` for `flow_pixels: visible`). epoch:
    counted from 1. Raises ModelError if the network lacks an output or the data set lacks ground truth."""

    def __init__(self, options: Rebalance) -> None:
        self.options = options
        self.estimate = ESTIMATORS[options.mode_estimator]
        self.ground_truth = ("rebalance.method", "oracle") if options.method == "oracle" else None

    def __call__(self, prediction: Prediction, batch: Batch, epoch: int) -> Balance:
        seen_in_both = self.options.flow_pixels == "visible" and self.options.method != "minimum"
        needed = ["depth", "pose", "flow"] + (["backward_flow"] if seen_in_both else [])
        for name in needed:
            if name not in prediction:
                raise ModelError(f"rebalance: needs the network's output {name!r}; it gives {', '.join(prediction)}")
        with torch.no_grad():
            return self._balance({name: prediction[name].detach() for name in needed}, batch, epoch)

    def _balance(self, prediction: Prediction, batch: Batch, epoch: int) -> Balance:
        rigid_flow, seen = depth_flow(prediction["depth"], predicted_poses(prediction), batch)
        rigid, flow = warped(rigid_flow, batch, ALPHA), warped(prediction["flow"], batch, ALPHA)
        delta, counted = rigid.error - flow.error, seen & flow.seen
        mode = self.estimate(delta.flatten(), counted.flatten())
        moving = batch.motion.moving
        truth = None if moving is None else moving[:, None].expand_as(delta)
        rigid_pixels = of_flow = torch.ones_like(counted)
        if epoch > self.options.warmup_epochs:
            rigid_pixels = self._rigid_pixels(delta, mode, truth)
            of_flow = self._of_flow(rigid_pixels, prediction)
        return Balance(
            delta=delta,
            counted=counted,
            mode=mode,
            rigid_pixels=rigid_pixels,
            flow_pixels=of_flow,
            flow_error=flow.error,
            moving=truth,
            eta=self.options.eta,
        )

    def _rigid_pixels(self, delta: Tensor, mode: Tensor, moving: Tensor | None) -> Tensor:
        """The pixels that depth and pose learn from."""
        eta = self.options.eta
        match self.options.method:
            case "none":
                return torch.ones_like(delta, dtype=torch.bool)
            case "negative" | "minimum":
                return delta < 0
            case "neighbourhood":
                return (delta - mode).abs() <= eta
            case "one_sided":
                return delta - mode <= eta
            case "oracle":
                if moving is None:
                    raise ModelError("rebalance.method: 'oracle' needs a data set that knows what moves")
                return ~moving

    def _of_flow(self, rigid_pixels: Tensor, prediction: Prediction) -> Tensor:
        """The pixels that flow learns from."""
        complement = self.options.flow_pixels == "complement"
        if self.options.method == "minimum" or (complement and self.options.method != "none"):
            return ~rigid_pixels
        if complement or self.options.flow_pixels == "all":  # with method none the complement would be empty
            return torch.ones_like(rigid_pixels)
        flow, backward = (prediction[name].flatten(0, 1) for name in ("flow", "backward_flow"))
        in_both = visible(flow, backward).reshape(rigid_pixels.shape)
        enough = in_both.float().mean(dim=(-1, -2), keepdim=True) >= FEWEST_VISIBLE
        return in_both | ~enough
