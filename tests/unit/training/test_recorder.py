"""Means of an epoch's steps, where a term had no pixel at some of them."""

from __future__ import annotations

import math

import pytest
import torch

from weightsearch.losses.criterion import Criterion, CriterionResult
from weightsearch.records import pixel_warnings
from weightsearch.training.measures.measure import Step
from weightsearch.training.recorder import Recorder

CPU = torch.device("cpu")
WEIGHTS = {"a": 2.0, "b": 1.0, "off": 0.0}


def recorded(*steps: dict[str, float | None]) -> Recorder:
    """A recorder after these steps: of each, the terms' values, None where a term had no pixel."""
    recorder = Recorder(Criterion(dict.fromkeys(WEIGHTS, lambda p, b: p["depth"].sum()), WEIGHTS), CPU)
    for step in steps:
        values = torch.tensor([step[name] or 0.0 for name in WEIGHTS])
        empty = torch.tensor([step[name] is None for name in WEIGHTS])
        result = CriterionResult(values.sum(), values, torch.ones(3), (None,) * 3, (), empty)
        recorder.add(Step(result, None, torch.ones(1, dtype=torch.bool), None), torch.ones(()))
    return recorder


def test_steps_without_pixels_do_not_make_a_mean_smaller():
    recorder = recorded({"a": 0.4, "b": 1.0, "off": 1.0}, {"a": None, "b": 3.0, "off": None})
    rows = recorder.measurements()
    assert rows["value"]["a"] == pytest.approx(0.4)
    assert rows["value"]["b"] == pytest.approx(2.0)
    assert recorder.train_loss() == pytest.approx(2 * 0.4 + 2.0)
    assert rows["without_pixels"] == {"a": 1, "off": 1}


def test_a_term_that_never_had_a_pixel_has_no_value():
    recorder = recorded({"a": None, "b": 1.0, "off": 1.0}, {"a": None, "b": 3.0, "off": 1.0})
    assert math.isnan(recorder.measurements()["value"]["a"])
    assert recorder.measurements()["contribution"]["a"] == 0
    assert recorder.train_loss() == pytest.approx(2.0)
    assert math.isnan(recorded({"a": None, "b": None, "off": 1.0}).train_loss())


def test_a_warning_names_terms_in_use_that_often_had_no_pixel():
    warnings = pixel_warnings({"a": 3, "b": 2, "off": 40}, 40, WEIGHTS)
    assert warnings == [
        "the loss term 'a' had no pixel to learn from at 3 of 40 steps, which gave it no gradient and do not count in "
        "its mean"
    ]
