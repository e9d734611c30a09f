from __future__ import annotations

import math

import pytest
import torch

from tests.helpers.depth_terms import M, make, scene
from weightsearch.errors import ModelError
from weightsearch.losses.criterion import Criterion

WEIGHTS = {"integer": 1.0, "fractional": 10.0, "consistency": 0.5}


def criterion(weights=WEIGHTS) -> Criterion:
    return Criterion({name: make(name) for name in weights}, weights)


def test_total_is_the_weighted_sum_of_unweighted_values():
    outputs, batch = scene()
    result = criterion()({key: value.requires_grad_() for key, value in outputs.items()}, batch)
    values = {name: float(make(name)(outputs, batch).detach()) for name in WEIGHTS}
    expected = sum(weight * values[name] for name, weight in WEIGHTS.items())
    assert float(result.total.detach()) == pytest.approx(expected, rel=1e-6)
    assert result.values.tolist() == pytest.approx(list(values.values()), rel=1e-6)


def test_output_gradients_of_l1_terms_are_their_weights_over_root_n():
    """Whatever the losses are: 1 : 10 : 0.5 in the weights is 1 : 10 : 0.5 in the gradients at the outputs."""
    outputs, batch = scene()
    result = criterion()({key: value.requires_grad_() for key, value in outputs.items()}, batch)
    assert result.output_gradients.tolist() == [0, 0, 0]
    result.total.backward()
    n = int(batch.valid.sum())
    expected = [weight / math.sqrt(n) for weight in WEIGHTS.values()]
    assert result.output_gradients.tolist() == pytest.approx(expected, rel=1e-5)


def test_looking_at_gradients_does_not_change_them():
    outputs, batch = scene()
    plain = {key: value.clone().requires_grad_() for key, value in outputs.items()}
    sum(weight * make(name)(plain, batch) for name, weight in WEIGHTS.items()).backward()
    seen = {key: value.clone().requires_grad_() for key, value in outputs.items()}
    criterion()(seen, batch).total.backward()
    for key in plain:
        torch.testing.assert_close(seen[key].grad, plain[key].grad, rtol=1e-6, atol=0)


def test_consistency_reaches_the_integer_head_m_times_as_strongly():
    """Science, section 1: at 1 : 10 : 0.5 and M = 15 consistency sends up to 7.5 / N into the integer head."""
    outputs, batch = scene()
    integer = outputs["integer"].requires_grad_()
    prediction = {**outputs, "depth": M * integer + outputs["fractional"]}
    (0.5 * make("consistency")(prediction, batch)).backward()
    n = int(batch.valid.sum())
    torch.testing.assert_close(integer.grad.abs()[batch.valid], torch.full((n,), 7.5 / n, dtype=torch.float64))


def test_a_weight_of_zero_leaves_a_term_out_even_a_broken_one():
    outputs, batch = scene()
    broken = Criterion(
        {"good": make("consistency"), "bad": lambda p, b: p["depth"].sum() * float("nan")}, {"good": 1.0, "bad": 0.0}
    )
    result = broken({key: value.requires_grad_() for key, value in outputs.items()}, batch)
    result.total.backward()
    assert torch.isfinite(outputs["depth"].grad).all()
    assert math.isnan(result.values.tolist()[1])
    assert result.output_gradients.tolist()[1] == 0


def test_all_weights_zero_is_an_error():
    outputs, batch = scene()
    with pytest.raises(ModelError, match="every weight is 0"):
        criterion(dict.fromkeys(WEIGHTS, 0.0))(outputs, batch)


def test_an_output_that_the_network_lacks_is_named():
    outputs, batch = scene()
    del outputs["integer"]
    with pytest.raises(
        ModelError, match=r"loss.integer: needs the network's output 'integer'; it gives fractional, depth"
    ):
        criterion()(outputs, batch)


def test_a_term_must_return_a_scalar():
    outputs, batch = scene()
    with pytest.raises(
        ModelError, match=r"loss.mine: a term must return a scalar tensor, found a tensor \[2, 1, 14, 13\]"
    ):
        Criterion({"mine": lambda p, b: p["depth"]}, {"mine": 1.0})(outputs, batch)


def test_a_key_error_of_a_terms_own_is_not_hidden():
    outputs, batch = scene()
    with pytest.raises(ModelError, match=r"loss.mine: KeyError: 'own' \(.*test_criterion.py:\d+\)") as error:
        Criterion({"mine": lambda p, b: {}["own"]}, {"mine": 1.0})(outputs, batch)
    assert isinstance(error.value.__cause__, KeyError)
