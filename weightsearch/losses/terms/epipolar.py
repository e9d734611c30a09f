"""The distance of flow from the epipolar lines of the camera's motion."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.geometry.epipolar import epipolar_distance
from weightsearch.geometry.warp import inside
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.pairs import each_pair, predicted_poses
from weightsearch.losses.pixel_masks import RIGID_PIXELS, kept_by
from weightsearch.losses.term import Prediction


class Epipolar(nn.Module):
    """mean distance, pixels, of p + flow(p) from the epipolar line of p under the predicted pose, over the pixels that
    stay in the picture, that have such a line and that the mask keeps for depth and pose. It is blind to motion
    along the line. A camera that only turns has no lines: such a pair does not count. learns: what its gradient
    reaches, `both`, `pose` or `flow`; through a pose that is worked out it reaches the depth. Source: Ranjan et al.
    2019 and CoopNet (WACV 2023), with the absolute value that the latter's print lacks."""

    needs_intrinsics: ClassVar = True
    needs_ground_truth: ClassVar = False

    def __init__(self, *, learns: Literal["both", "pose", "flow"] = "both") -> None:
        super().__init__()
        self.learns = learns

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        flow, poses = prediction["flow"], predicted_poses(prediction)
        flow = flow.detach() if self.learns == "pose" else flow
        poses = poses.detach() if self.learns == "flow" else poses
        count, steps = flow.shape[1], flow.flatten(0, 1)
        distance, known = epipolar_distance(steps, poses.flatten(0, 1), each_pair(batch.intrinsics, count))
        seen = (inside(steps) & known).reshape(-1, count, 1, *steps.shape[-2:])
        kept = kept_by(RIGID_PIXELS, prediction, seen)
        return masked_mean(distance.reshape_as(kept).masked_fill(~kept, 0), kept)
