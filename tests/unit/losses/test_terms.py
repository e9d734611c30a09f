"""One contract for every loss term of the table, and what each of them says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsearch.data.batch import Batch
from weightsearch.losses.term import LossTerm
from weightsearch.plugins import TABLES, build

M = 15.0
TERMS = sorted(TABLES["loss"])


def make(name: str) -> LossTerm:
    return build("loss", name, {}, {"max_depth": M, "min_depth": 0.5})


def scene(seed: int = 0, *, shape=(2, 1, 6, 5), dtype=torch.float64):
    """Random outputs of a dual-head network and random truth."""
    generator = torch.Generator().manual_seed(seed)
    outputs = {name: torch.rand(shape, generator=generator, dtype=dtype) for name in ("integer", "fractional")}
    outputs["depth"] = M * outputs["integer"] + outputs["fractional"]
    depth = 0.5 + 13.9 * torch.rand(shape, generator=generator, dtype=dtype)
    valid = torch.rand(shape, generator=generator) < 0.7
    return outputs, batch_of(depth, valid)


def batch_of(depth, valid):
    count = depth.shape[0]
    image = torch.zeros(count, 3, *depth.shape[-2:])
    return Batch(image, depth, valid, torch.eye(3).repeat(count, 1, 1), torch.eye(4).repeat(count, 1, 1))


def reference(name: str, outputs, batch) -> float:
    """The same in numpy, from science: integer floor(y)/M, fractional y - floor(y), consistency |y^ - y|."""
    y, valid = batch.depth.numpy(), batch.valid.numpy()
    target = {"integer": np.floor(y) / M, "fractional": y - np.floor(y), "consistency": y}[name]
    output = outputs["depth" if name == "consistency" else name].numpy()
    return float(np.abs(output - target)[valid].mean())


@pytest.mark.parametrize("name", TERMS)
class TestContract:
    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 10**6))
    def test_equals_an_independent_reference(self, name, seed):
        outputs, batch = scene(seed)
        assert float(make(name)(outputs, batch)) == pytest.approx(reference(name, outputs, batch), rel=1e-12)

    def test_gradient_is_that_of_finite_differences(self, name):
        outputs, batch = scene(1)
        term = make(name)
        used = "depth" if name == "consistency" else name

        def value(x):
            return term({**outputs, used: x}, batch)

        assert torch.autograd.gradcheck(value, outputs[used].clone().requires_grad_(), eps=1e-7)

    def test_an_l1_gradient_is_one_over_n_whatever_the_loss(self, name):
        outputs, batch = scene(2)
        used = "depth" if name == "consistency" else name
        x = outputs[used].clone().requires_grad_()
        make(name)({**outputs, used: x}, batch).backward()
        n = int(batch.valid.sum())
        torch.testing.assert_close(x.grad.abs()[batch.valid], torch.full((n,), 1 / n, dtype=torch.float64))
        assert (x.grad[~batch.valid] == 0).all()

    def test_is_not_negative_and_zero_for_the_truth(self, name):
        _, batch = scene(3)
        y = batch.depth
        truth = {"integer": y.floor() / M, "fractional": y - y.floor(), "depth": y}
        assert float(make(name)(truth, batch)) == 0

    def test_without_a_valid_pixel_it_is_zero_and_attached(self, name):
        outputs, batch = scene(4)
        outputs = {key: value.requires_grad_() for key, value in outputs.items()}
        value = make(name)(outputs, batch_of(batch.depth, torch.zeros_like(batch.valid)))
        assert float(value.detach()) == 0
        value.backward()
        used = "depth" if name == "consistency" else name
        assert (outputs[used].grad == 0).all()

    @pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), -5.0, 0.0])
    def test_what_is_outside_the_mask_has_no_influence(self, name, rubbish):
        outputs, batch = scene(5)
        expected = float(make(name)(outputs, batch))
        used = "depth" if name == "consistency" else name
        spoiled = outputs[used].masked_fill(~batch.valid, rubbish).requires_grad_()
        value = make(name)(
            {**outputs, used: spoiled}, batch_of(batch.depth.masked_fill(~batch.valid, rubbish), batch.valid)
        )
        value.backward()
        assert float(value.detach()) == expected
        assert torch.isfinite(spoiled.grad).all()

    def test_is_a_loss_term(self, name):
        assert isinstance(make(name), LossTerm)


def test_fractional_targets_jump_at_whole_metres():
    batch = batch_of(torch.tensor([4.999, 5.001]).view(1, 1, 1, 2), torch.ones(1, 1, 1, 2, dtype=torch.bool))
    zero = {"fractional": torch.zeros(1, 1, 1, 2)}
    assert float(make("fractional")(zero, batch)) == pytest.approx((0.999 + 0.001) / 2, abs=1e-6)
