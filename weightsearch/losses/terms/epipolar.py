"""The distance of optical flow from the epipolar lines of the camera motion."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.geometry.epipolar import epipolar_distance
from weightsearch.geometry.warp import inside
from weightsearch.losses.masked import masked_mean
from weightsearch.losses.pairs import each_pair, predicted_poses
from weightsearch.losses.pixel_masks import RIGID_PIXELS, selected_by
from weightsearch.losses.term import Prediction


class Epipolar(nn.Module):
    """mean distance, pixels, of p + flow(p) from the epipolar line of p under the predicted pose, over the pixels that
    stay in the image, have such a line and are in the mask of depth and pose. Motion along the line does not count. A
    pair whose camera only rotates has no lines and does not count. learns: outputs that get a gradient, `both`, `pose`
    or `flow`; depth gets the gradient of a pose that is computed from it. Sources: Ranjan et al. 2019 and CoopNet (WACV
    2023), with the absolute value that is missing in the latter's formula."""

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
        distance, has_line = epipolar_distance(steps, poses.flatten(0, 1), each_pair(batch.intrinsics, count))
        seen = (inside(steps) & has_line).reshape(-1, count, 1, *steps.shape[-2:])
        mask = selected_by(RIGID_PIXELS, prediction, seen)
        return masked_mean(distance.reshape_as(mask).masked_fill(~mask, 0), mask)
