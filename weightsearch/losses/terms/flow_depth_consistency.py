"""The distance of optical flow from the flow of a static scene."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.pairs import depth_flow, predicted_poses
from weightsearch.losses.pixel_masks import RIGID_PIXELS, selected_by
from weightsearch.losses.term import Prediction


class FlowDepthConsistency(nn.Module):
    """mean |flow - flow of depth and pose|, summed over x and y, pixels, over the pixels that stay in the image and are
    in the mask of depth and pose. learns: outputs that get a gradient, `both`, `rigid` (depth and pose) or `flow`.
    Source: Zou et al. 2018 (cross-task consistency)."""

    needs_intrinsics: ClassVar = True
    needs_ground_truth: ClassVar = False

    def __init__(self, *, learns: Literal["both", "rigid", "flow"] = "both") -> None:
        super().__init__()
        self.learns = learns

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        rigid, seen = depth_flow(prediction["depth"], predicted_poses(prediction), batch)
        flow = prediction["flow"]
        rigid = rigid.detach() if self.learns == "flow" else rigid
        flow = flow.detach() if self.learns == "rigid" else flow
        mask = selected_by(RIGID_PIXELS, prediction, seen)
        gap = (flow - rigid).abs().sum(dim=2, keepdim=True)
        return masked_mean(gap.masked_fill(~mask, 0), mask)
