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
from weightsearch.losses.pixel_masks import RIGID_PIXELS, kept_by
from weightsearch.losses.scales import depth_scales
from weightsearch.losses.term import Prediction


class PhotometricRigid(nn.Module):
    """mean of alpha clip((1 - SSIM) / 2, 0, 1) + (1 - alpha) |I - I'|, in [0, 1], where I' is the frame as a neighbour
    shows it through the predicted depth and pose, over the pixels that lie in the neighbour's picture and that
    the mask keeps; mean over the scales of depth, each brought to the full size, that have such a pixel.

    alpha: share of SSIM in the photometric error. over: `mean` over the neighbours, or at each pixel the `minimum`,
    which forgives what one neighbour hides. auto_mask: leave out pixels that the unmoved neighbour shows as well, which
    stand still in the picture: those without texture, and things as fast as the camera. pose: the network's
    (`predicted`), the data set's (`known`), or its rotation with the network's translation (`known_rotation`); pairs
    whose pose is not known are then left out. Sources: Zhou et al. 2017; Godard et al. 2019.
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
        poses, known = self._poses(prediction, batch)
        still = self._unmoved(batch) if self.auto_mask else None
        kept = kept_by(RIGID_PIXELS, prediction, known[..., None, None, None])
        return mean_of_means([self._one(depth, poses, kept, still, batch) for depth in depth_scales(prediction)])

    def _one(
        self, depth: Tensor, poses: Tensor, kept: Tensor, still: Tensor | None, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """The errors by one scale of depth, 0 where they do not count, and the mask of those that do."""
        flow, seen = depth_flow(depth, poses, batch)
        error = warped(flow, batch, self.alpha).error
        kept = kept & seen
        if still is not None and self.over == "mean":
            kept = kept & (error < still)
        if self.over == "mean":
            return error.masked_fill(~kept, 0), kept
        least = error.masked_fill(~kept, torch.inf).amin(dim=1)
        some = kept.any(dim=1)
        if still is not None:
            some = some & (least < still.amin(dim=1))
        return least.masked_fill(~some, 0), some

    def _poses(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, Tensor]:
        """[B, S, 4, 4], and which of them are known, [B, S] bool."""
        neighbours_of(batch)
        assert batch.neighbours is not None  # noqa: S101 - for the type checker: neighbours_of has looked
        known = batch.neighbours.pose.isfinite().all(dim=-1).all(dim=-1)
        if self.pose == "predicted":
            return predicted_poses(prediction), torch.ones_like(known)
        still = torch.eye(4, dtype=batch.neighbours.pose.dtype, device=known.device)
        true = torch.where(known[..., None, None], batch.neighbours.pose, still)
        if self.pose == "known":
            return true, known
        translation = predicted_poses(prediction)[..., :3, 3:]
        upper = torch.cat([true[..., :3, :3], translation], dim=-1)
        return torch.cat([upper, true[..., 3:, :]], dim=-2), known

    def _unmoved(self, batch: Batch) -> Tensor:
        """The error of the neighbours as they are, [B, S, 1, H, W]."""
        images = neighbours_of(batch)
        error = photometric_error(each_pair(batch.image, images.shape[1]), images.flatten(0, 1), self.alpha)
        return error.reshape(*images.shape[:2], 1, *error.shape[-2:])
