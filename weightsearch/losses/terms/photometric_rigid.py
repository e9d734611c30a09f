"""The photometric error by depth and pose."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from weightsearch.data.batch import Batch
from weightsearch.losses.masked import mean_of_means
from weightsearch.losses.pairs import depth_flow, each_pair, neighbours_of, predicted_poses, warped
from weightsearch.losses.photometric_error import ALPHA, photometric_error
from weightsearch.losses.pixel_masks import RIGID_PIXELS, selected_by
from weightsearch.losses.scales import depth_scales
from weightsearch.losses.term import Prediction


class PhotometricRigid(nn.Module):
    """mean of alpha clip((1 - SSIM) / 2, 0, 1) + (1 - alpha) |I - I'|, in [0, 1], where I' is the neighbour warped to
    the frame by the predicted depth and pose, over the pixels that are inside the neighbour's image and in the mask of
    depth and pose; mean over the scales of depth, each resized to the full size, that have such a pixel.

    alpha: share of SSIM in the photometric error. over: `mean` over the neighbours, or at each pixel the `minimum`,
    which tolerates occlusion in one neighbour. auto_mask: leave out pixels whose error without a warp is not larger:
    pixels without texture, and objects that move with the camera. pose: the pose of the network (`predicted`), of the
    data set (`known`), or the data set's rotation with the network's translation (`known_rotation`); pairs without a
    known pose are then left out. Sources: Zhou et al. 2017; Godard et al. 2019.
    """

    needs_intrinsics: ClassVar = True
    photometric: ClassVar = True
    needs_ground_truth: ClassVar = False

    def __init__(
        self,
        *,
        alpha: Annotated[float, Field(ge=0, le=1)] = ALPHA,
        over: Literal["mean", "minimum"] = "mean",
        auto_mask: bool = False,
        pose: Literal["predicted", "known", "known_rotation"] = "predicted",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.over = over
        self.auto_mask = auto_mask
        self.pose = pose

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        poses, has_pose = self._poses(prediction, batch)
        still = self._unmoved(batch) if self.auto_mask else None
        mask = selected_by(RIGID_PIXELS, prediction, has_pose[..., None, None, None])
        return mean_of_means([self._at_scale(depth, poses, mask, still, batch) for depth in depth_scales(prediction)])

    def _at_scale(
        self, depth: Tensor, poses: Tensor, mask: Tensor, still: Tensor | None, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """The errors at a scale of depth, and their mask; the errors are 0 outside it."""
        flow, seen = depth_flow(depth, poses, batch)
        error = warped(flow, batch, self.alpha).error
        mask = mask & seen
        if still is not None and self.over == "mean":
            mask = mask & (error < still)
        if self.over == "mean":
            return error.masked_fill(~mask, 0), mask
        least = error.masked_fill(~mask, torch.inf).amin(dim=1)
        some = mask.any(dim=1)
        if still is not None:
            some = some & (least < still.amin(dim=1))
        return least.masked_fill(~some, 0), some

    def _poses(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, Tensor]:
        """The poses of the option `pose`, [B, S, 4, 4], and the mask of the pairs that have one, [B, S] bool."""
        neighbours_of(batch)
        assert batch.neighbours is not None  # noqa: S101 - for the type checker: neighbours_of has looked
        has_pose = batch.neighbours.pose.isfinite().all(dim=-1).all(dim=-1)
        if self.pose == "predicted":
            return predicted_poses(prediction), torch.ones_like(has_pose)
        still = torch.eye(4, dtype=batch.neighbours.pose.dtype, device=has_pose.device)
        true = torch.where(has_pose[..., None, None], batch.neighbours.pose, still)
        if self.pose == "known":
            return true, has_pose
        translation = predicted_poses(prediction)[..., :3, 3:]
        upper = torch.cat([true[..., :3, :3], translation], dim=-1)
        return torch.cat([upper, true[..., 3:, :]], dim=-2), has_pose

    def _unmoved(self, batch: Batch) -> Tensor:
        """The photometric error of the neighbours without a warp, [B, S, 1, H, W]."""
        images = neighbours_of(batch)
        error = photometric_error(each_pair(batch.image, images.shape[1]), images.flatten(0, 1), self.alpha)
        return error.reshape(*images.shape[:2], 1, *error.shape[-2:])
