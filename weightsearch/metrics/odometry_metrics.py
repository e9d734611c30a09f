"""Odometry metrics: errors of a camera's predicted steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightsearch.errors import TrialFailure
from weightsearch.metrics.metric import Metric
from weightsearch.records import Quantity

Array = NDArray[np.float64]

SNIPPET: Final = 5  # frames of a snippet
STANDING: Final = 1e-6  # metres of a step below which the camera stands still
LENGTHS: Final = range(100, 801, 100)  # lengths of KITTI's sub-sequences, metres
EVERY: Final = 10  # frames between the starts of KITTI's sub-sequences


@dataclass(frozen=True)
class Steps:
    """The steps of a split whose truth is known. predicted, truth: [N, 4, 4]. chains: the indices of consecutive steps
    in these arrays."""

    predicted: Array
    truth: Array
    chains: list[list[int]]

    @cached_property
    def ends(self) -> Array:
        """The errors at the ends of KITTI's sub-sequences of all chains, [M, 2]: see `_end_errors`."""
        errors = [
            end
            for chain in self.chains
            for end in _end_errors(_trajectory(self.predicted[chain]), _trajectory(self.truth[chain]))
        ]
        return np.array(errors, dtype=np.float64).reshape(-1, 2)


def trajectory_error(steps: Steps) -> float | None:
    if not (np.linalg.norm(steps.truth[:, :3, 3], axis=1) >= STANDING).any():
        return None
    return float(
        np.mean(
            [error for chain in steps.chains for error in _snippet_errors(steps.predicted[chain], steps.truth[chain])]
        )
    )


def rotation_error(steps: Steps) -> float | None:
    return float(np.rad2deg(_angles(steps.predicted, steps.truth)).mean())


def direction_error(steps: Steps) -> float | None:
    directions = _between(steps.predicted[:, :3, 3], steps.truth[:, :3, 3])
    return float(np.rad2deg(directions).mean()) if len(directions) else None


def kitti_translation(steps: Steps) -> float | None:
    return 100 * float(steps.ends[:, 0].mean()) if len(steps.ends) else None


def kitti_rotation(steps: Steps) -> float | None:
    return 100 * float(np.rad2deg(steps.ends[:, 1].mean())) if len(steps.ends) else None


@dataclass(frozen=True, kw_only=True)
class OdometryMetric(Metric):
    """A metric of odometry. value: the metric of a split's steps; None if it is not defined for them."""

    predicts: Quantity = "pose"
    value: Callable[[Steps], float | None]


METRICS: Final = (
    OdometryMetric(
        name="ate", unit="m", direction="minimize", value=trajectory_error,
        description="absolute trajectory error of 5 frames after scaling, as SfMLearner evaluates it",
    ),
    OdometryMetric(
        name="rpe_rot", unit="deg", direction="minimize", value=rotation_error,
        description="angle between predicted and true rotation of a step",
    ),
    OdometryMetric(
        name="rpe_dir", unit="deg", direction="minimize", value=direction_error,
        description="angle between predicted and true translation of a step",
    ),
    OdometryMetric(
        name="t_err", unit="%", direction="minimize", value=kitti_translation,
        description="KITTI's translation error over sub-sequences of 100 to 800 m, after scaling",
    ),
    OdometryMetric(
        name="r_err", unit="deg/100 m", direction="minimize", value=kitti_rotation,
        description="KITTI's rotation error over sub-sequences of 100 to 800 m",
    ),
)  # fmt: skip


class OdometryMetrics:
    """The metrics above. A step is the pose from a frame's camera coordinates to those of the next stored frame of its
    video. A chain is a maximal run of consecutive steps of a video whose truth is known.

    ate: absolute trajectory error of snippets of 5 frames, metres, as published by Zhou et al. 2017 (SfMLearner,
    kitti_eval). For all 5 consecutive frames of a chain, the camera positions are expressed in the first frame's
    coordinates, and the predicted ones are scaled by the factor of the least-squares fit to the true ones. The error is
    the root of the sum of the squared distances, divided by 5 (smaller than their root mean square by a factor of the
    root of 5); ate is the mean over all snippets. A shorter chain is one snippet, with its own number of frames. If the
    true camera stands still (each step less than 1e-6 m), factor and error are 0 for any prediction: such snippets
    count, as published, but a split without other snippets has no ate.
    rpe_rot: angle of the rotation between a predicted and a true step, degrees. rpe_dir: angle between their
    translations, degrees, over the steps whose true translation is at least 1e-6 m; a prediction without translation
    counts as 90 degrees, like a random guess on average. Means over all steps.
    t_err, r_err: KITTI's errors at the end of sub-sequences of 100, 200, ..., 800 m that start at every 10th frame of a
    chain (Geiger et al. 2012), in percent of the length and degrees per 100 m; means over all sub-sequences. The
    predicted positions of a chain are first scaled by a single best-fit factor; nothing else is aligned.

    Factors are never negative: a camera that is predicted to move in the opposite direction is wrong, not of another
    scale. For such predictions the published evaluation, which mirrors them, gives smaller numbers; otherwise the
    numbers are the same.
    """

    def __init__(self, split: str) -> None:
        self.split = split
        self.predicted: list[Tensor] = []
        self.truth: list[Tensor] = []
        self.places: list[tuple[int, int]] = []

    def update(self, predicted: Tensor, truth: Tensor, places: Sequence[tuple[int, int]]) -> None:
        """Add a batch. predicted, truth: steps, [B, 4, 4]; predicted in any scale, truth in metres and NaN where
        unknown. places: each frame's video and index in it, in any order over a split. Does not wait for the device."""
        if not len(predicted) == len(truth) == len(places):
            raise ValueError(f"{len(predicted)} predicted and {len(truth)} true steps of {len(places)} frames")
        self.predicted.append(predicted.detach())
        self.truth.append(truth.detach())
        self.places += places

    def compute(self) -> dict[str, float]:
        """The metrics that are defined for the steps with known truth; none without such steps. Raises TrialFailure for
        a prediction is not finite."""
        if not self.places:
            return {}
        predicted, truth = _numbers(self.predicted), _numbers(self.truth)
        if not np.isfinite(predicted).all():
            raise TrialFailure(f"the {self.split} predictions of the camera's motion are not finite")
        valid = np.flatnonzero(np.isfinite(truth).all(axis=(1, 2)))
        if not len(valid):
            return {}
        number = {step: position for position, step in enumerate(valid.tolist())}
        chains = [
            [number[step] for step in chain]
            for chain in _chains([(self.places[step], step) for step in valid.tolist()])
        ]
        steps = Steps(predicted[valid], truth[valid], chains)
        values = {metric.name: metric.value(steps) for metric in METRICS}
        return {name: value for name, value in values.items() if value is not None}


def _numbers(steps: list[Tensor]) -> Array:
    return np.asarray(torch.cat([step.cpu().double() for step in steps]).numpy())


def _chains(steps: list[tuple[tuple[int, int], int]]) -> Iterator[list[int]]:
    """Runs of steps whose frames are consecutive. steps: video and frame index of each step, and the step's number."""
    chain: list[int] = []
    last = None
    for (video, index), step in sorted(steps):
        if chain and (video, index - 1) != last:
            yield chain
            chain = []
        chain.append(step)
        last = video, index
    yield chain


def _trajectory(steps: Array) -> Array:
    """Poses from each frame's camera coordinates to the first frame's, [N + 1, 4, 4]. steps: [N, 4, 4]."""
    poses = [np.eye(4)]
    for back in np.linalg.inv(steps):
        poses.append(poses[-1] @ back)
    return np.stack(poses)


def _factor(predicted: Array, truth: Array) -> float:
    """The factor that scales predicted positions, [N, 3], to the truth; 0 if they do not move or move in the opposite
    direction."""
    square = float((predicted**2).sum())
    return max(float((predicted * truth).sum()) / square, 0.0) if square else 0.0


def _snippet_errors(predicted: Array, truth: Array) -> list[float]:
    """The error of each snippet of a chain, metres. predicted, truth: steps, [N, 4, 4]."""
    count = min(SNIPPET - 1, len(truth))
    errors = []
    for start in range(len(truth) - count + 1):
        part = slice(start, start + count)
        estimated, true = _trajectory(predicted[part])[:, :3, 3], _trajectory(truth[part])[:, :3, 3]
        errors.append(float(np.linalg.norm(_factor(estimated, true) * estimated - true)) / len(true))
    return errors


def _end_errors(predicted: Array, truth: Array) -> list[tuple[float, float]]:
    """The errors at the end of each sub-sequence of a chain, divided by its length: translation as a share, rotation in
    radians per metre. predicted, truth: trajectories, [N, 4, 4]."""
    predicted = predicted.copy()
    predicted[:, :3, 3] *= _factor(predicted[:, :3, 3], truth[:, :3, 3])
    way = np.concatenate([[0.0], np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1).cumsum()])
    errors = []
    for start in range(0, len(truth), EVERY):
        for length in LENGTHS:
            end = int(np.searchsorted(way, way[start] + length, side="right"))
            if end == len(way):
                break
            estimated, true = (np.linalg.inv(poses[start]) @ poses[end] for poses in (predicted, truth))
            apart = float(np.linalg.norm(estimated[:3, 3] - true[:3, 3]))
            errors.append((apart / length, float(_angles(estimated, true)) / length))
    return errors


def _angles(predicted: Array, truth: Array) -> Array:
    """Angles between the rotations of poses, radians, [...]. predicted, truth: [..., 4, 4]. Accurate for small angles
    too; the trace alone is not."""
    turn = predicted[..., :3, :3] @ np.swapaxes(truth[..., :3, :3], -1, -2)
    odd = turn - np.swapaxes(turn, -1, -2)
    sine = np.sqrt((odd**2).sum(axis=(-1, -2)) / 2)
    return np.asarray(np.arctan2(sine, np.trace(turn, axis1=-2, axis2=-1) - 1))


def _between(predicted: Array, truth: Array) -> Array:
    """Angles between translations, radians; steps without true translation are left out. predicted, truth: [N, 3]."""
    moving = np.linalg.norm(truth, axis=1) >= STANDING
    predicted, truth = predicted[moving], truth[moving]
    across = np.linalg.norm(np.cross(predicted, truth), axis=1)
    along = (predicted * truth).sum(axis=1)
    return np.where(predicted.any(axis=1), np.arctan2(across, along), np.pi / 2)
