"""Depth, camera motion and optical flow, learned together from video."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from weightsearch.errors import ModelError
from weightsearch.models.disparity import Disparity
from weightsearch.models.flow import Flow
from weightsearch.models.parts.encoder import Encoder, EncoderName, EncoderWeights
from weightsearch.models.parts.pose import MotionFrom, PoseNet, SolvedPose


class CoTraining(nn.Module):
    """Three networks without shared parameters: `depth`, `pose` and `flow`.

    channels: channels at the finest level of the depth decoder. scales: number of depth scales. motion_from: input of
    the pose network: `images`, `flow` or `both`; with `depth_and_flow` and `depth_and_images` the motion is computed
    from flow and depth instead, and with `depth_and_images` refined on the images. pose_channels: channels of the pose
    network's first features. flow_channels: channels of the flow network's first features. flow_levels: number of
    halvings of the image in the flow network.

    forward: RGB in [0, 1], [B, 3, H, W], the neighbours' RGB, [B, S, 3, H, W], and the camera's intrinsics in pixels,
    [B, 3, 3] -> the outputs of the three networks: `depth`, `depth_2`, ..., `pose`, `flow` and `backward_flow`. Without
    neighbours only depth.
    """

    predicts: ClassVar = ("depth", "pose", "flow")

    takes_neighbours = True
    takes_intrinsics = True

    def __init__(
        self,
        *,
        encoder: EncoderName = "tf_efficientnet_lite0",
        weights: EncoderWeights = "none",
        channels: Annotated[int, Field(ge=1)] = 16,
        scales: Annotated[int, Field(ge=1, le=4)] = 3,
        min_depth: Annotated[float, Field(gt=0)],
        max_depth: Annotated[float, Field(gt=0)],
        motion_from: MotionFrom = "both",
        pose_channels: Annotated[int, Field(ge=4, multiple_of=4)] = 16,
        flow_channels: Annotated[int, Field(ge=4, multiple_of=4)] = 12,
        flow_levels: Annotated[int, Field(ge=2, le=6)] = 4,
        neighbours: tuple[int, ...] = (),
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.depth = Disparity(
            encoder=encoder,
            weights=weights,
            channels=channels,
            scales=scales,
            min_depth=min_depth,
            max_depth=max_depth,
            size=size,
        )
        self.pose: PoseNet | SolvedPose = (
            SolvedPose(aligned=motion_from == "depth_and_images")
            if motion_from == "depth_and_flow" or motion_from == "depth_and_images"
            else PoseNet(
                neighbours=neighbours, start_depth=self.depth.start, channels=pose_channels, motion_from=motion_from
            )
        )
        self.flow = Flow(channels=flow_channels, levels=flow_levels, neighbours=neighbours)

    @property
    def encoder(self) -> Encoder:
        return self.depth.encoder

    def forward(
        self, image: Tensor, neighbours: Tensor | None = None, intrinsics: Tensor | None = None
    ) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.depth(image)
        if neighbours is None:
            return outputs
        flows = self.flow(image, neighbours)
        if isinstance(self.pose, PoseNet):
            pose = self.pose(image, neighbours, flows["flow"], flows["backward_flow"])
        elif intrinsics is None:
            raise ModelError(
                "model.motion_from: computing the camera's motion needs intrinsics, and the data set gives none"
            )
        else:
            pose = self.pose(image, neighbours, outputs["depth"], flows["flow"], flows["backward_flow"], intrinsics)
        return {**outputs, "pose": pose, **flows}
