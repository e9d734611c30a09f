"""One contract for the loss terms between a frame and its neighbours, on computed video whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, max_pool2d

from tests.helpers.pair_terms import OF_PAIRS, OUTPUTS
from tests.video import batch_of, dataset, truth_of
from weightsearch.data.batch import Batch, TrueMotion
from weightsearch.errors import ModelError
from weightsearch.geometry.camera import rigid_flow
from weightsearch.geometry.warp import inside, warp
from weightsearch.losses.criterion import Criterion
from weightsearch.losses.photometric_error import photometric_error
from weightsearch.losses.pixel_masks import FLOW_PIXELS, RIGID_PIXELS
from weightsearch.plugins import build

BETWEEN_FRAMES = sorted(set(OF_PAIRS) - {"smooth_depth", "smooth_flow"})
MASKED = {name: FLOW_PIXELS if name == "photometric_flow" else RIGID_PIXELS for name in BETWEEN_FRAMES}
CASES = [
    *((name, {}) for name in OF_PAIRS),
    ("photometric_rigid", {"over": "minimum"}),
    ("photometric_rigid", {"auto_mask": True}),
    ("photometric_rigid", {"over": "minimum", "auto_mask": True}),
    ("photometric_rigid", {"alpha": 0.0}),
    ("photometric_flow", {"alpha": 0.0}),
    ("smooth_flow", {"order": 2}),
]


@pytest.fixture(scope="module")
def batch(tmp_path_factory) -> Batch:
    whole = batch_of(dataset(tmp_path_factory.mktemp("video"), "data.moving=0"))
    return replace(
        whole,
        image=whole.image.double(),
        depth=whole.depth.double(),
        intrinsics=whole.intrinsics.double(),
        motion=TrueMotion(whole.motion.flow.double(), whole.motion.moving),
        neighbours=replace(
            whole.neighbours, image=whole.neighbours.image.double(), pose=whole.neighbours.pose.double()
        ),
    )


@pytest.fixture(scope="module")
def truth(batch):
    return truth_of(batch)


def guess(batch: Batch, seed: int = 0) -> dict[str, torch.Tensor]:
    """A network's output that is wrong in everything."""
    generator = torch.Generator().manual_seed(seed)
    count, height, width = len(batch), *batch.image.shape[-2:]

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    coarse = 5 + 20 * torch.rand(count, 1, height // 2, width // 2, generator=generator, dtype=torch.float64)
    found = {
        "depth": interpolate(coarse, size=(height, width), mode="bilinear"),
        "depth_2": coarse,
        "pose": 0.05 * random(count, 2, 6),
        "flow": interpolate(random(count * 2, 2, 6, 8), size=(height, width), mode="bilinear").reshape(
            count, 2, 2, height, width
        ),
    }
    return {name: value.requires_grad_() for name, value in found.items()}


def make(name: str, **options):
    return build("loss", name, options, {})


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_gradient_reaches_what_it_should_and_is_finite(batch, name, options):
    outputs = guess(batch)
    value = make(name, **options)(outputs, batch)
    assert value.shape == ()
    assert bool(value > 0)
    value.backward()
    reached = {one for one, tensor in outputs.items() if tensor.grad is not None and bool(tensor.grad.any())}
    assert reached - {"depth_2"} == OUTPUTS[name]
    assert all(tensor.grad is None or bool(tensor.grad.isfinite().all()) for tensor in outputs.values())


@pytest.mark.parametrize("name", ["epipolar", "photometric_flow", "photometric_rigid", "flow_depth_consistency"])
def test_the_truth_is_better_than_any_guess(batch, truth, name):
    term = make(name)
    right = float(term(truth, batch))
    assert right < 0.5 * min(float(term(guess(batch, seed), batch).detach()) for seed in range(3))


def test_the_truth_satisfies_the_rigid_constraints(batch, truth):
    assert float(make("epipolar")(truth, batch)) < 1e-3
    seen = batch.depth > 0
    masks = {RIGID_PIXELS: seen[:, None].expand(-1, 2, -1, -1, -1)}
    assert float(make("flow_depth_consistency")({**truth, **masks}, batch)) < 1e-3


@pytest.mark.parametrize("name", BETWEEN_FRAMES)
def test_pixels_outside_the_mask_have_no_influence(batch, name):
    outputs = guess(batch)
    mask = torch.rand(len(batch), 2, 1, *batch.image.shape[-2:], generator=torch.Generator().manual_seed(5)) < 0.5
    mask[..., 30:] = False
    value = make(name)({**outputs, MASKED[name]: mask}, batch)
    value.backward()
    # SSIM looks at the pixels beside: a photometric error is not of one pixel alone.
    near = max_pool2d(mask[:, :, 0].double(), 3, 1, 1)[:, :, None] > 0 if "photometric" in name else mask
    for output in OUTPUTS[name] - {"pose"}:
        gradient = outputs[output].grad.abs()
        gradient = gradient.sum(dim=2, keepdim=True) if output == "flow" else gradient[:, None].expand_as(near)
        counts = near if output == "flow" else near.any(dim=1, keepdim=True).expand_as(near)
        assert float(gradient[~counts].max()) == 0, output
        assert float((gradient[counts] > 0).double().mean()) > 0.5, output
    nothing = torch.zeros_like(mask)
    empty = make(name)({**guess(batch), MASKED[name]: nothing}, batch)
    assert float(empty.detach()) == 0
    assert empty.requires_grad
    empty.backward()
    half = mask.clone()
    half[len(batch) // 2 :] = False
    first = {one: tensor.detach()[: len(batch) // 2] for one, tensor in guess(batch).items()}
    alone = make(name)({**first, MASKED[name]: mask[: len(batch) // 2]}, part(batch, slice(0, len(batch) // 2)))
    together = make(name)({**guess(batch), MASKED[name]: half}, batch)
    assert float(together.detach()) == pytest.approx(float(alone), rel=1e-9)


def empties(name: str, outputs, batch: Batch, **options) -> tuple[float, bool]:
    """A term's value, and whether the criterion calls it empty."""
    result = Criterion({name: make(name, **options)}, {name: 1.0})(outputs, batch)
    return float(result.values[0]), bool(result.empty[0])


@pytest.mark.parametrize("name", BETWEEN_FRAMES)
def test_a_term_without_pixels_is_told_from_one_that_is_perfect(batch, name):
    nothing = torch.zeros(len(batch), 2, 1, *batch.image.shape[-2:], dtype=torch.bool)
    assert empties(name, {**guess(batch), MASKED[name]: nothing}, batch) == (0, True)
    value, empty = empties(name, guess(batch), batch)
    assert value > 0
    assert not empty


@pytest.mark.parametrize("options", [{}, {"over": "minimum"}])
def test_depth_and_pose_that_lead_out_of_the_picture_are_no_perfect_depth(batch, options):
    """All of the picture moves 100 m aside: no pixel is seen, and 0 is no error."""
    outputs = guess(batch)
    away = outputs["pose"].detach().clone()
    away[..., 3] = 100.0
    assert empties("photometric_rigid", {**outputs, "pose": away.requires_grad_()}, batch, **options) == (0, True)
    assert empties("flow_depth_consistency", {**outputs, "pose": away}, batch) == (0, True)
    flow = torch.full_like(outputs["flow"], 1000.0).requires_grad_()
    for name in ("photometric_flow", "epipolar"):
        assert empties(name, {**outputs, "flow": flow}, batch) == (0, True)


def test_a_scale_without_pixels_does_not_make_the_error_smaller(batch, truth):
    """Depth at half the size lies behind the camera's next place, so that none of its pixels is seen."""
    outputs = {name: tensor.detach() for name, tensor in truth.items()}
    outputs["pose"] = outputs["pose"].clone()
    outputs["pose"][..., 5] = -3.0  # backwards by 3 m along the view
    alone = float(make("photometric_rigid")(outputs, batch))
    near = torch.full_like(outputs["depth"][..., ::2, ::2], 1.0)
    assert float(make("photometric_rigid")({**outputs, "depth_2": near}, batch)) == pytest.approx(alone, rel=1e-12)


def test_a_pair_whose_camera_only_turns_has_no_say_in_the_epipolar_distance(batch):
    outputs = {name: tensor.detach() for name, tensor in guess(batch).items()}
    alone = {**outputs, "flow": outputs["flow"][:, :1], "pose": outputs["pose"][:, :1]}
    turning = outputs["pose"].clone()
    turning[:, 1, 3:] = 0
    term = make("epipolar")
    assert float(term({**outputs, "pose": turning}, batch)) == pytest.approx(float(term(alone, batch)), rel=1e-12)
    turning[:, 0, 3:] = 0
    assert empties("epipolar", {**outputs, "pose": turning.requires_grad_()}, batch) == (0, True)


def part(batch: Batch, which: slice) -> Batch:
    return replace(
        batch,
        image=batch.image[which],
        depth=batch.depth[which],
        valid=batch.valid[which],
        intrinsics=batch.intrinsics[which],
        pose=batch.pose[which],
        neighbours=replace(batch.neighbours, image=batch.neighbours.image[which], pose=batch.neighbours.pose[which]),
    )


@pytest.mark.parametrize("name", sorted(set(BETWEEN_FRAMES) & {"photometric_flow", "photometric_rigid"}))
def test_without_neighbours_it_says_what_is_missing(batch, name):
    with pytest.raises(ModelError, match=r"data\.neighbours: found none; loss terms between frames"):
        make(name)(guess(batch), replace(batch, neighbours=None))


def numpy_photometric(one: np.ndarray, other: np.ndarray, alpha: float) -> np.ndarray:
    """[3, H, W] -> [H, W], window by window."""
    height, width = one.shape[1:]
    a, b = (np.pad(picture, ((0, 0), (1, 1), (1, 1)), mode="reflect") for picture in (one, other))
    result = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            total = 0.0
            for channel in range(3):
                x, y = (p[channel, row : row + 3, column : column + 3].ravel() for p in (a, b))
                cov = ((x - x.mean()) * (y - y.mean())).mean()
                ssim = (2 * x.mean() * y.mean() + 1e-4) * (2 * cov + 9e-4)
                ssim /= (x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (x.var() + y.var() + 9e-4)
                total += alpha * np.clip((1 - ssim) / 2, 0, 1) + (1 - alpha) * abs(one - other)[channel, row, column]
            result[row, column] = total / 3
    return result


def test_the_photometric_error_is_its_formula(batch):
    one, other = batch.image[0, :, :14, :17], batch.neighbours.image[0, 0, :, :14, :17]
    for alpha in (0.0, 0.85, 1.0):
        expected = numpy_photometric(one.numpy(), other.numpy(), alpha)
        np.testing.assert_allclose(photometric_error(one[None], other[None], alpha)[0, 0], expected, atol=1e-9)
    assert float(photometric_error(batch.image, batch.image, 0.85).abs().max()) < 1e-9


def errors_of(batch: Batch, depth: torch.Tensor, alpha: float = 0.85):
    """By the rigid flow of each pair, one after another: errors and whether they are seen, [B, S, H, W]."""
    found = []
    for number in range(2):
        flow, far = rigid_flow(depth, batch.neighbours.pose[:, number], batch.intrinsics)
        error = photometric_error(batch.image, warp(batch.neighbours.image[:, number], flow), alpha)
        found.append((error[:, 0], (inside(flow) & (far > 1e-3))[:, 0]))
    return tuple(torch.stack(part, dim=1) for part in zip(*found, strict=True))


def test_photometric_rigid_is_the_mean_over_what_is_seen_of_every_scale(batch, truth):
    depths = [truth["depth"], interpolate(truth["depth"], scale_factor=0.5, mode="bilinear", align_corners=False)]
    outputs = {"depth": depths[0], "depth_2": depths[1], "pose": torch.zeros(len(batch), 2, 6, dtype=torch.float64)}
    expected = []
    for depth in depths:
        error, seen = errors_of(batch, interpolate(depth, size=batch.image.shape[-2:], mode="bilinear"))
        expected.append(error[seen].mean())
    found = make("photometric_rigid", pose="known")(outputs, batch)
    assert float(found) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-6)


def test_the_least_error_and_the_auto_mask(batch, truth):
    outputs = {"depth": truth["depth"], "pose": truth["pose"]}
    error, seen = errors_of(batch, truth["depth"])
    least = torch.where(seen, error, torch.inf).amin(dim=1)
    some = seen.any(dim=1)
    found = make("photometric_rigid", pose="known", over="minimum")(outputs, batch)
    assert float(found) == pytest.approx(float(least[some].mean()), rel=1e-6)
    still = torch.stack(
        [photometric_error(batch.image, batch.neighbours.image[:, s], 0.85)[:, 0] for s in (0, 1)], dim=1
    )
    moved = some & (least < still.amin(dim=1))
    assert 0.3 < float(moved.float().mean()) < 0.95
    found = make("photometric_rigid", pose="known", over="minimum", auto_mask=True)(outputs, batch)
    assert float(found) == pytest.approx(float(least[moved].mean()), rel=1e-6)
    found = make("photometric_rigid", pose="known", auto_mask=True)(outputs, batch)
    assert float(found) == pytest.approx(float(error[seen & (error < still)].mean()), rel=1e-6)


def test_true_rotations_leave_the_translation_to_the_network(batch, truth):
    wrong = truth["pose"].clone()
    wrong[..., :3] += 0.3
    term = make("photometric_rigid", pose="known_rotation")
    right = make("photometric_rigid", pose="known")({"depth": truth["depth"], "pose": wrong}, batch)
    assert float(term({"depth": truth["depth"], "pose": wrong}, batch)) == pytest.approx(float(right), rel=1e-5)
    wrong[..., 3:] += 1.0
    assert float(term({"depth": truth["depth"], "pose": wrong}, batch)) > 1.5 * float(right)


@pytest.mark.parametrize("learns", ["pose", "flow"])
def test_epipolar_learns_only_what_it_is_told_to(batch, learns):
    outputs = guess(batch)
    make("epipolar", learns=learns)(outputs, batch).backward()
    other = {"pose": "flow", "flow": "pose"}[learns]
    assert bool(outputs[learns].grad.any())
    assert outputs[other].grad is None


@pytest.mark.parametrize(("learns", "reached"), [("rigid", {"depth", "pose"}), ("flow", {"flow"})])
def test_consistency_learns_only_what_it_is_told_to(batch, learns, reached):
    outputs = guess(batch)
    make("flow_depth_consistency", learns=learns)(outputs, batch).backward()
    assert {name for name, one in outputs.items() if one.grad is not None and bool(one.grad.any())} == reached


def test_smooth_depth_ignores_the_scale_of_each_picture(batch):
    depth = guess(batch)["depth"].detach()
    scales = torch.logspace(-1, 1, len(batch), dtype=torch.float64).reshape(-1, 1, 1, 1)
    term = make("smooth_depth")
    assert float(term({"depth": scales * depth}, batch)) == pytest.approx(
        float(term({"depth": depth}, batch)), rel=1e-9
    )


def test_smooth_depth_ignores_scale_and_halves_at_every_coarser_one(batch):
    depth = guess(batch)["depth"].detach()
    term = make("smooth_depth")
    alone = float(term({"depth": depth}, batch))
    assert float(term({"depth": 7 * depth}, batch)) == pytest.approx(alone, rel=1e-9)
    assert float(term({"depth": depth, "depth_2": depth}, batch)) == pytest.approx(0.75 * alone, rel=1e-9)
    assert float(term({"depth": torch.full_like(depth, 3.0)}, batch)) == 0


def test_smooth_flow_of_order_two_lets_an_even_change_pass(batch):
    ramp = torch.linspace(0, 3, 64, dtype=torch.float64).expand(len(batch), 2, 2, 48, 64)
    assert float(make("smooth_flow")({"flow": ramp}, batch)) > 0.01
    assert float(make("smooth_flow", order=2)({"flow": ramp}, batch)) < 1e-12
    assert float(make("smooth_flow")({"flow": torch.ones_like(ramp)}, batch)) == 0
