"""The camera motion that explains optical flow best, given depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from weightsearch.geometry.camera import inverse_intrinsics, pixel_grid, project
from weightsearch.geometry.occlusion import ABSOLUTE, RELATIVE, visible
from weightsearch.geometry.pose import axis_angle
from weightsearch.geometry.rigid import Motion, least_squares, median_of, slopes, thinned

PIXELS: Final = 1500  # sampled pixels of an image, about
FEWEST: Final = 16  # valid pixels that a motion needs
GUESSES: Final = 64  # candidate motions
EACH: Final = 4  # pixels of a candidate motion: three would be enough
FIRST_STEPS: Final = 4  # Gauss-Newton steps of a candidate motion
STEPS: Final = 8  # Gauss-Newton steps over all pixels
SPREAD: Final = 1.5  # scale of the Cauchy distribution over the median distance
SHARPEST: Final = 0.05  # smallest scale of the residuals, in standard deviations of the flow
FLOOR: Final = 1e-3  # added to the normal equations' diagonal, which is 0 if all points are behind the camera


@dataclass(frozen=True)
class _Seen:
    """Sampled pixels of N pairs of images. points: in the first camera's coordinates, [N, 3, P]. pixels: their pixels
    in the other image by the flow, [N, 2, P]. deviation: expected error of a flow of that length, pixels, [N, P].
    weights: 0 or 1, [N, P]. intrinsics: [N, 3, 3]."""

    points: Tensor
    pixels: Tensor
    deviation: Tensor
    weights: Tensor
    intrinsics: Tensor

    def at(self, chosen: Tensor) -> _Seen:
        """N G pairs: every pair with each of G selections of E pixels. chosen: pixel indices, [G, E]."""

        def of(values: Tensor) -> Tensor:
            return values[..., chosen].movedim(-2, 1).flatten(0, 1)

        intrinsics = self.intrinsics.repeat_interleave(len(chosen), dim=0)
        return _Seen(of(self.points), of(self.pixels), of(self.deviation), of(self.weights), intrinsics)

    def repeated(self, count: int) -> _Seen:
        parts = (self.points, self.pixels, self.deviation, self.weights, self.intrinsics)
        return _Seen(*(part.repeat_interleave(count, dim=0) for part in parts))


def camera_motion(flow: Tensor, backward: Tensor, depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Rotation vector (radians) and translation (metres, in the scale of depth) from a camera's coordinates to the
    other's, [B, 6]. flow, backward: forward and backward flow, pixels, [B, 2, H, W]. depth: metres, [B, 1, H, W].
    intrinsics: pixels, [B, 3, 3].

    Minimises the distance between each pixel moved by the flow and the same pixel moved by the camera motion, robustly
    against moving objects. Of GUESSES candidate motions, each computed from a few pixels (with a fixed random seed),
    the one with the least median distance (Rousseeuw 1984) is refined by Gauss-Newton steps over all pixels, with the
    weights of a Cauchy distribution whose scale is that median (Holland and Welsch 1977). So a third of the pixels may
    belong to moving objects, even to a single one. Distances are in units of the deviation that Meister et al. 2018
    allow a flow, which grows with its length. Pixels whose forward and backward flow disagree, or are not finite, do
    not count. With fewer than FEWEST valid pixels the motion is 0.

    Backpropagates through the last IRLS step, whose weights are held constant, into depth alone (after Smith et al.
    2024, FlowMap, who use a closed form). The gradient is exact where flow and depth agree, and approximate elsewhere.
    """
    with torch.autocast(flow.device.type, enabled=False):
        seen, unit = _seen(flow.detach().float(), backward.detach().float(), depth.float(), intrinsics.float())
        with torch.no_grad():
            motion = _best_guess(seen)
            for _ in range(STEPS - 1):
                motion = motion.then(_step(motion, seen, _robust(motion, seen)))
            weights = _robust(motion, seen)
        motion = motion.then(_step(motion, seen, weights))
        return torch.cat([axis_angle(motion.turn), motion.shift[..., 0] * unit], dim=1)


def _seen(flow: Tensor, backward: Tensor, depth: Tensor, intrinsics: Tensor) -> tuple[_Seen, Tensor]:
    """The sampled pixels, with points in units of their median depth, and that median in metres, [B, 1]."""
    finite = flow.isfinite().all(dim=1, keepdim=True)
    flow = flow.masked_fill(~finite, 0)
    mask = visible(flow, backward) & finite & depth.isfinite() & (depth > 0)
    size = (flow.shape[-2], flow.shape[-1])
    rows, columns = thinned(size, PIXELS)

    def some(values: Tensor) -> Tensor:
        return values[..., rows, columns].flatten(-2)

    counts, steps, far = some(mask)[:, 0], some(flow), some(depth)[:, 0]
    counts = counts & (counts.sum(dim=1, keepdim=True) >= FEWEST)
    grid = some(pixel_grid(size, flow))
    unit = median_of(far.detach(), counts).nan_to_num(1.0)
    points = (inverse_intrinsics(intrinsics) @ grid) * torch.where(counts, far / unit, 1.0)[:, None]
    deviation = (RELATIVE * steps.square().sum(dim=1) + ABSOLUTE).sqrt()
    return _Seen(points, grid[:2] + steps, deviation, counts.float(), intrinsics), unit


def _best_guess(seen: _Seen) -> Motion:
    """The motion with the least median distance, among motions that are computed from a few pixels each."""
    device = seen.points.device
    generator = torch.Generator(device).manual_seed(0)
    chosen = torch.randint(seen.points.shape[-1], (GUESSES, EACH), generator=generator, device=device)
    few = seen.at(chosen)
    still = torch.eye(3, device=device).expand(len(few.points), 3, 3)
    guess = Motion(still, few.points.new_zeros(len(few.points), 3, 1))
    for _ in range(FIRST_STEPS):
        guess = guess.then(_step(guess, few, few.weights / few.deviation**2))
    typical = _typical(guess, seen.repeated(GUESSES))[0].nan_to_num(torch.inf).reshape(-1, GUESSES)
    best = typical.argmin(dim=1) + GUESSES * torch.arange(len(typical), device=typical.device)
    return Motion(guess.turn[best], guess.shift[best])


def _robust(motion: Motion, seen: _Seen) -> Tensor:
    """The robust weight of each pixel in a step, [N, P]."""
    typical, length = _typical(motion, seen)
    scale = (SPREAD * typical).nan_to_num(1.0).clamp(min=SHARPEST)
    return seen.weights / seen.deviation**2 / (1 + (length / scale) ** 2)


def _typical(motion: Motion, seen: _Seen) -> tuple[Tensor, Tensor]:
    """The median residual length over the pixels that count, [N, 1], and each pixel's length, [N, P], in deviations."""
    length = _residual(motion, seen).norm(dim=1) / seen.deviation
    return median_of(length, seen.weights > 0), length


def _residual(motion: Motion, seen: _Seen) -> Tensor:
    """The residual: each pixel by the flow minus the same pixel by the motion, pixels, [N, 2, P]."""
    return seen.pixels - project(motion.moved(seen.points), seen.intrinsics)


def _step(motion: Motion, seen: _Seen, weights: Tensor) -> Tensor:
    """A pose increment by one step of weighted least squares: rotation vector and translation, [N, 6]. weights:
    [N, P]."""
    points, ones, zeros = motion.moved(seen.points), torch.ones_like(weights), torch.zeros_like(weights)
    jacobian = torch.cat([slopes(points, seen.intrinsics, *along) for along in ((ones, zeros), (zeros, ones))], dim=2)
    return least_squares(jacobian, weights.repeat(1, 2), _residual(motion, seen).flatten(1), FLOOR)
