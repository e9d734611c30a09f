"""Identities of loss terms that hold for any prediction and any truth."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.depth_terms import batch_of, make, scene
from tests.unit.losses.reference import NEAREST, M
from weightsearch.errors import OptionError
from weightsearch.plugins import build

seeds = st.integers(0, 10**6)
focuses = st.floats(0, 1)
factors = st.floats(0.01, 100)


def depths(seed: int):
    """Predicted depth and a batch, both at least 0.5 m."""
    outputs, batch = scene(seed)
    return outputs["depth"] + 0.5, batch


def silog(x, batch, **options) -> float:
    return float(make("silog", **{"form": "squared", **options})({"depth": x}, batch))


class TestSILog:
    @given(seed=seeds, focus=focuses, factor=factors)
    def test_a_common_factor_of_the_prediction_adds_what_the_focus_leaves(self, seed, focus, factor):
        """Q(s x, y) = Q + (1 - focus) (b^2 + 2 b mean d), b = ln s."""
        x, batch = depths(seed)
        b, mean = math.log(factor), float((x.log() - batch.depth.log())[batch.valid].mean())
        expected = silog(x, batch, variance_focus=focus) + (1 - focus) * (b**2 + 2 * b * mean)

        assert silog(factor * x, batch, variance_focus=focus) == pytest.approx(expected, abs=1e-9)

    @given(seed=seeds, factor=factors)
    @pytest.mark.parametrize("form", ["squared", "sqrt"])
    def test_with_full_focus_it_ignores_scale(self, seed, factor, form):
        x, batch = depths(seed)
        scaled = silog(factor * x, batch, variance_focus=1.0, form=form)
        assert scaled == pytest.approx(silog(x, batch, variance_focus=1.0, form=form), abs=1e-9)

    @given(seed=seeds, focus=focuses, factor=factors)
    def test_a_factor_of_both_changes_nothing(self, seed, focus, factor):
        x, batch = depths(seed)
        both = silog(factor * x, batch_of(factor * batch.depth, batch.valid), variance_focus=focus)
        assert both == pytest.approx(silog(x, batch, variance_focus=focus), abs=1e-9)

    @given(seed=seeds, focus=focuses)
    def test_is_symmetric(self, seed, focus):
        x, batch = depths(seed)
        swapped = silog(batch.depth, batch_of(x, batch.valid), variance_focus=focus)
        assert swapped == pytest.approx(silog(x, batch, variance_focus=focus), abs=1e-12)

    @given(seed=seeds)
    def test_with_full_focus_it_is_half_the_mean_square_of_all_pairs(self, seed):
        x, batch = depths(seed)
        d = (x.log() - batch.depth.log())[batch.valid]
        pairs = ((d[:, None] - d[None, :]) ** 2).mean() / 2
        assert silog(x, batch, variance_focus=1.0) == pytest.approx(float(pairs), abs=1e-9)

    @given(seed=seeds)
    def test_with_full_focus_the_gradients_in_log_depth_cancel(self, seed):
        x, batch = depths(seed)
        log = x.log().requires_grad_()
        make("silog", variance_focus=1.0, form="squared")({"depth": log.exp()}, batch).backward()
        assert float(log.grad.sum()) == pytest.approx(0, abs=1e-12)
        assert float(log.grad.abs().max()) > 1e-4

    @given(seed=seeds, factor=factors)
    def test_per_image_ignores_each_images_factor_and_pooling_does_not(self, seed, factor):
        """Pooling adds the variance of the images' means."""
        x, batch = depths(seed)
        scaled = x * torch.tensor([factor, 1 / factor], dtype=x.dtype).view(2, 1, 1, 1)
        alone = silog(x, batch, variance_focus=1.0, per_image=True)
        assert silog(scaled, batch, variance_focus=1.0, per_image=True) == pytest.approx(alone, abs=1e-9)
        d = scaled.log() - batch.depth.log()
        images = [one[mask] for one, mask in zip(d, batch.valid, strict=True)]
        total = sum(len(one) for one in images)
        mean = float(torch.cat(images).mean())
        within = sum(len(one) * float(one.var(unbiased=False)) for one in images) / total
        between = sum(len(one) * (float(one.mean()) - mean) ** 2 for one in images) / total
        assert silog(scaled, batch, variance_focus=1.0) == pytest.approx(within + between, abs=1e-9)

    @given(seed=seeds, level=st.floats(1e-2, 1e4))
    def test_a_constant_factor_leaves_nothing_in_float32(self, seed, level):
        """mean(d^2) - mean(d)^2 would be off by the rounding of two large numbers, and negative half of the time."""
        _, batch = depths(seed)
        y = batch.depth.float()
        found = silog(y * level, batch_of(y, batch.valid), variance_focus=1.0)
        assert 0 <= found < 1e-11

    @given(seed=seeds)
    def test_scale_and_root(self, seed):
        x, batch = depths(seed)
        root = silog(x, batch, form="sqrt", scale=10.0)
        assert root == pytest.approx(10 * math.sqrt(silog(x, batch)), rel=1e-12)

    @pytest.mark.parametrize("focus", [1.01, -0.01])
    def test_a_focus_beyond_0_to_1_is_refused(self, focus):
        with pytest.raises(OptionError, match="variance_focus|1|0"):
            make("silog", variance_focus=focus)


class TestOthers:
    @given(seed=seeds, offset=st.floats(-0.4, 100))
    @pytest.mark.parametrize("options", [{}, {"operator": "sobel"}])
    def test_edges_ignore_an_offset(self, seed, offset, options):
        x, batch = depths(seed)
        term = make("edge", **options)
        assert float(term({"depth": x + offset}, batch)) == pytest.approx(float(term({"depth": x}, batch)), abs=1e-9)

    @given(slope=st.floats(-2, 2))
    @pytest.mark.parametrize("options", [{}, {"operator": "sobel"}])
    def test_the_edge_of_a_ramp_is_its_slope(self, slope, options):
        _, batch = scene(shape=(1, 1, 9, 12))
        flat = batch_of(torch.full_like(batch.depth, 40.0), torch.ones_like(batch.valid))
        ramp = 40 + slope * torch.arange(12, dtype=torch.float64).expand(1, 1, 9, 12)
        assert float(make("edge", **options)({"depth": ramp}, flat)) == pytest.approx(abs(slope), abs=1e-12)

    @given(seed=seeds, factor=factors)
    def test_gradient_matching_in_log_ignores_scale(self, seed, factor):
        x, batch = depths(seed)
        term = make("gradient_matching")
        assert float(term({"depth": factor * x}, batch)) == pytest.approx(float(term({"depth": x}, batch)), abs=1e-9)

    @given(seed=seeds, factor=factors)
    @pytest.mark.parametrize("space", ["depth", "reciprocal", "log"])
    def test_ssim_means_the_same_in_every_unit_of_length(self, seed, factor, space):
        x, batch = depths(seed)
        scaled = build("loss", "ssim", {"space": space}, {"min_depth": factor * NEAREST, "max_depth": factor * M})(
            {"depth": factor * (x + 1)}, batch_of(factor * (batch.depth + 1), batch.valid)
        )
        same = make("ssim", space=space)({"depth": x + 1}, batch_of(batch.depth + 1, batch.valid))
        assert float(scaled) == pytest.approx(float(same), rel=1e-9)

    @given(seed=seeds)
    def test_ssim_is_symmetric_and_at_most_1(self, seed):
        x, batch = depths(seed)
        loss, plain = make("ssim"), make("ssim", halved=False)
        value = float(loss({"depth": x}, batch))
        assert value == pytest.approx(float(loss({"depth": batch.depth}, batch_of(x, batch.valid))), abs=1e-12)
        assert 0 <= value <= 1
        assert float(plain({"depth": x}, batch)) == pytest.approx(2 * value, rel=1e-9)  # nothing was clipped

    @given(seed=seeds)
    def test_berhu_lies_between_l1_and_its_square_over_the_threshold(self, seed):
        x, batch = depths(seed)
        error = (x - batch.depth).abs()[batch.valid]
        c = 0.2 * error.max()
        value = float(make("berhu")({"depth": x}, batch))
        assert float(error.mean()) <= value <= float(((error**2 + c**2) / (2 * c)).mean()) + 1e-12

    @given(seed=seeds, factor=factors)
    @pytest.mark.parametrize("space", ["depth", "reciprocal", "log"])
    def test_smoothness_gains_nothing_by_scale(self, seed, factor, space):
        x, batch = depths(seed)
        term = make("edge_aware_smoothness", space=space)
        assert float(term({"depth": factor * x}, batch)) == pytest.approx(float(term({"depth": x}, batch)), rel=1e-9)

    @given(seed=seeds, factor=factors)
    @pytest.mark.parametrize("name", ["mae", "l2", "berhu", "edge", "gradient_matching"])
    def test_in_log_a_factor_of_both_changes_nothing(self, seed, factor, name):
        x, batch = depths(seed)
        term = make(name, space="log")
        both = float(term({"depth": factor * x}, batch_of(factor * batch.depth, batch.valid)))
        assert both == pytest.approx(float(term({"depth": x}, batch)), rel=1e-9)

    @given(seed=seeds, power=st.integers(-3, 3))
    @pytest.mark.parametrize(("name", "degree"), [("mae", 1), ("l2", 2), ("berhu", 1), ("edge", 1)])
    def test_the_unit(self, seed, power, name, degree):
        """Metres become millimetres: the term is homogeneous of its degree in depth, and of the opposite in 1/depth."""
        x, batch = depths(seed)
        factor = 2.0**power
        for space, sign in (("depth", 1), ("reciprocal", -1)):
            term = make(name, space=space)
            both = float(term({"depth": factor * x}, batch_of(factor * batch.depth, batch.valid)))
            expected = factor ** (sign * degree) * float(term({"depth": x}, batch))
            assert both == pytest.approx(expected, rel=1e-9)
