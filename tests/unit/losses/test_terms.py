"""One contract for every loss term of the table."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.depth_terms import TERMS, WITHOUT_TRUTH, batch_of, make, scene
from tests.unit.losses import reference
from tests.unit.losses.reference import NEAREST, M
from weightsearch.data.batch import Batch
from weightsearch.errors import OptionError
from weightsearch.losses.depth_term import truth_at
from weightsearch.losses.term import LossTerm
from weightsearch.plugins import build

OUTPUT = {"integer": "integer", "fractional": "fractional"}  # what a term reads; all others read depth
WITH_TRUTH = [name for name in TERMS if name not in WITHOUT_TRUTH]
L1 = ["consistency", "fractional", "integer", "mae"]
SPACES = [{"space": space} for space in ("depth", "reciprocal", "log")]
OPTIONS = {
    "berhu": [*SPACES, {"threshold": 0.5}, {"per_image": True}],
    "edge": [*SPACES, {"operator": "sobel"}],
    "edge_aware_smoothness": [*SPACES, {"sharpness": 10.0}],
    "gradient_matching": [*SPACES, {"scales": 1}, {"scales": 3}],
    "l2": SPACES,
    "mae": SPACES,
    "silog": [
        {"variance_focus": focus, "form": form, "per_image": per_image, "scale": scale}
        for focus, scale in ((0.0, 1.0), (0.5, 2.0), (1.0, 10.0))
        for form in ("squared", "sqrt")
        for per_image in (False, True)
    ],
    "ssim": [*SPACES, {"window": 7, "sigma": 3.0}, {"window": 4}, {"halved": False}, {"dynamic_range": 2.0}],
}
CASES = [(name, options) for name in TERMS for options in [{}, *OPTIONS.get(name, [])]]


def output_of(name: str) -> str:
    return OUTPUT.get(name, "depth")


def smooth_scene(seed: int):
    """As `scene`, away from every kink, and with depths that are not near 0: finite differences mean something."""
    outputs, batch = scene(seed)
    return {**outputs, "depth": outputs["depth"] + 0.5}, batch


@pytest.mark.parametrize(("name", "options"), CASES)
class TestAgainstTheReference:
    @settings(max_examples=5, deadline=None)
    @given(seed=st.integers(0, 10**6))
    def test_equals_an_independent_float64_reference(self, name, options, seed):
        outputs, batch = scene(seed)
        x, y, image = outputs[output_of(name)].numpy(), batch.depth.numpy(), batch.image.numpy()
        expected = getattr(reference, name)(x, y, batch.valid.numpy(), image, **options)
        assert float(make(name, **options)(outputs, batch)) == pytest.approx(expected, rel=1e-9, abs=1e-12)

    def test_gradient_is_that_of_finite_differences(self, name, options):
        outputs, batch = smooth_scene(1)
        term, used = make(name, **options), output_of(name)
        x, y = (
            torch.from_numpy(reference.transformed(depth.numpy(), options.get("space", "depth")))
            for depth in (outputs[used], batch.depth)
        )
        error = (x - y).abs() * batch.valid
        held = (error == error.amax(dim=(1, 2, 3), keepdim=True)) & (name == "berhu")  # which its threshold follows

        def value(x):
            return term({**outputs, used: torch.where(held, outputs[used], x)}, batch)

        assert torch.autograd.gradcheck(value, outputs[used].clone().requires_grad_(), eps=1e-7, atol=1e-5)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_lower_precision_is_finite_and_near(self, name, options, dtype):
        outputs, batch = smooth_scene(2)
        expected = float(make(name, **options)(outputs, batch))
        used = output_of(name)
        x = outputs[used].to(dtype).requires_grad_()
        low = Batch(batch.image.float(), batch.depth.float(), batch.valid, batch.intrinsics, batch.pose)
        value = make(name, **options)({**outputs, used: x}, low)
        value.backward()
        assert value.dtype == torch.float32
        assert float(value.detach()) == pytest.approx(expected, rel=0.02 if dtype != torch.float32 else 1e-4)
        assert torch.isfinite(x.grad).all()

    @pytest.mark.parametrize("level", [0.0, 1e-4, 3.0, 1e4])
    @pytest.mark.parametrize("truth", [NEAREST, 3.0])
    def test_constant_pictures_and_zeros_are_finite(self, name, options, level, truth):
        _, batch = scene(3, dtype=torch.float32)
        x = torch.full_like(batch.depth, level).requires_grad_()
        flat = Batch(torch.zeros_like(batch.image), torch.full_like(batch.depth, truth), batch.valid, *[batch.pose] * 2)
        value = make(name, **options)({"depth": x, "integer": x, "fractional": x}, flat)
        value.backward()
        assert math.isfinite(value.detach())
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("options", [{"space": "log"}, {"space": "reciprocal"}], ids=["log", "reciprocal"])
@pytest.mark.parametrize("name", ["mae", "l2", "berhu", "silog", "gradient_matching", "edge"])
def test_a_network_that_starts_below_zero_is_told_the_way_out(name, options):
    """A head without bounds may predict no depth at all at first: its error is bounded, but not its gradient 0."""
    _, batch = scene(3)
    options = {} if name == "silog" else options
    x = torch.full_like(batch.depth, -1.0).requires_grad_()
    make(name, **options)({"depth": x}, batch).backward()
    assert torch.isfinite(x.grad).all()
    if name in ("edge", "gradient_matching"):  # of which only the neighbours' differences count
        assert (x.grad != 0).any()
    else:
        assert x.grad.sum() < 0  # a step against it goes up
    assert (x.grad[~batch.valid] == 0).all()


def test_ssim_of_reciprocal_depth_asks_for_its_range_where_the_nearest_depth_says_nothing():
    """1 / .001 m = 1000 / m: constants of squares of 10 and 30, and everything is alike."""
    near = {"min_depth": 1e-3, "max_depth": 10.0}
    with pytest.raises(OptionError, match=r"dynamic_range: must be given: 1 / min_depth, 1000 1/m"):
        build("loss", "ssim", {"space": "reciprocal"}, near)
    outputs, batch = smooth_scene(0)
    given_one = build("loss", "ssim", {"space": "reciprocal", "dynamic_range": 1 / NEAREST}, near)
    assert float(given_one(outputs, batch)) == float(make("ssim", space="reciprocal")(outputs, batch))
    assert build("loss", "ssim", {}, near)


@pytest.mark.parametrize("name", TERMS)
class TestContract:
    def test_is_a_loss_term_that_gives_a_scalar(self, name):
        outputs, batch = scene()
        assert isinstance(make(name), LossTerm)
        assert make(name)(outputs, batch).shape == ()

    def test_is_not_negative(self, name):
        assert all(float(make(name)(*scene(seed))) > 0 for seed in range(5))

    def test_a_smaller_output_is_compared_at_its_pixels_centres(self, name):
        _, batch = scene(5, shape=(2, 1, 26, 28))
        batch = replace(batch, valid=torch.ones_like(batch.valid))
        outputs, _ = scene(6, shape=(2, 1, 13, 14))
        picked = Batch(
            torch.nn.functional.avg_pool2d(batch.image, 2),
            batch.depth[..., 1::2, 1::2],
            batch.valid[..., 1::2, 1::2],
            batch.intrinsics,
            batch.pose,
        )
        assert float(make(name)(outputs, batch)) == pytest.approx(float(make(name)(outputs, picked)), rel=1e-12)


@pytest.mark.parametrize("name", WITH_TRUTH)
class TestMask:
    def test_zero_for_the_truth(self, name):
        _, batch = scene(3)
        y = batch.depth
        truth = {"integer": y.floor() / M, "fractional": y - y.floor(), "depth": y}
        assert float(make(name)(truth, batch)) == pytest.approx(0, abs=1e-12)

    def test_without_a_valid_pixel_it_is_zero_and_attached(self, name):
        outputs, batch = scene(4)
        outputs = {key: value.requires_grad_() for key, value in outputs.items()}
        value = make(name)(outputs, batch_of(batch.depth, torch.zeros_like(batch.valid)))
        assert float(value.detach()) == 0
        value.backward()
        assert (outputs[output_of(name)].grad == 0).all()

    def test_an_image_without_a_valid_pixel_changes_nothing_for_the_others(self, name):
        outputs, batch = scene(4)
        alone = {key: value[:1] for key, value in outputs.items()}
        first = Batch(*(part[:1] for part in (batch.image, batch.depth, batch.valid, batch.intrinsics, batch.pose)))
        valid = batch.valid.clone()
        valid[1] = False
        assert float(make(name)(outputs, batch_of(batch.depth, valid))) == pytest.approx(
            float(make(name)(alone, first)), rel=1e-12
        )

    @pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), -5.0, 0.0])
    def test_what_is_outside_the_mask_has_no_influence(self, name, rubbish):
        outputs, batch = scene(5)
        expected = float(make(name)(outputs, batch))
        used = output_of(name)
        spoiled = outputs[used].masked_fill(~batch.valid, rubbish).requires_grad_()
        value = make(name)(
            {**outputs, used: spoiled}, batch_of(batch.depth.masked_fill(~batch.valid, rubbish), batch.valid)
        )
        value.backward()
        assert float(value.detach()) == expected
        assert (spoiled.grad[~batch.valid] == 0).all()
        assert torch.isfinite(spoiled.grad).all()

    def test_a_prediction_that_is_not_finite_is_seen(self, name):
        outputs, batch = scene(6)
        outputs[output_of(name)][0, 0, 6, 6] = torch.nan
        valid = torch.ones_like(batch.valid)
        assert not math.isfinite(make(name)(outputs, batch_of(batch.depth, valid)))


@pytest.mark.parametrize("name", L1)
def test_an_l1_gradient_is_one_over_n_whatever_the_loss(name):
    outputs, batch = scene(2)
    x = outputs[output_of(name)].clone().requires_grad_()
    make(name)({**outputs, output_of(name): x}, batch).backward()
    n = int(batch.valid.sum())
    torch.testing.assert_close(x.grad.abs()[batch.valid], torch.full((n,), 1 / n, dtype=torch.float64))
    assert (x.grad[~batch.valid] == 0).all()


def test_fractional_targets_jump_at_whole_metres():
    batch = batch_of(torch.tensor([4.999, 5.001]).view(1, 1, 1, 2), torch.ones(1, 1, 1, 2, dtype=torch.bool))
    zero = {"fractional": torch.zeros(1, 1, 1, 2)}
    assert float(make("fractional")(zero, batch)) == pytest.approx((0.999 + 0.001) / 2, abs=1e-6)


def test_every_term_has_a_reference():
    assert [name for name in TERMS if not hasattr(reference, name)] == []
    assert np.isfinite(M)


def test_of_sparse_depth_a_smaller_output_gets_the_nearest_on_each_of_its_pixels():
    """Where the centre is not known. Of random points a quarter would be left by the centres alone."""
    rng = np.random.default_rng(0)
    depth = np.where(rng.uniform(size=(1, 1, 40, 60)) < 0.1, rng.uniform(1, 9, (1, 1, 40, 60)), 0)
    batch = batch_of(torch.from_numpy(depth), torch.from_numpy(depth > 0))
    found, valid = truth_at(batch, torch.zeros(1, 1, 20, 30))
    blocks = depth.reshape(20, 2, 30, 2)
    centre = blocks[:, 1, :, 1]
    nearest = np.where(blocks > 0, blocks, np.inf).min(axis=(1, 3))
    expected = np.where(centre > 0, centre, np.where(np.isfinite(nearest), nearest, 0))
    assert np.array_equal(valid[0, 0].numpy(), expected > 0)
    np.testing.assert_allclose((found * valid)[0, 0].numpy(), expected, rtol=1e-12)
    assert valid.sum() > 3 * (centre > 0).sum()
