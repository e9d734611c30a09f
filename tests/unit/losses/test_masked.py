"""A loss term without a pixel is 0, attached to the graph, and distinguished from a perfect value."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.helpers.depth_terms import TERMS, WITHOUT_TRUTH, make, scene
from weightsearch.losses.criterion import Criterion
from weightsearch.losses.masked import counted_pixels, masked_mean, mean_of_means

WITH_TRUTH = [name for name in TERMS if name not in WITHOUT_TRUTH]


def test_every_masked_mean_within_counts_its_pixels():
    values, mask = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([True, True, False])
    masked_mean(values, mask)
    with counted_pixels() as counts:
        masked_mean(values, mask)
        masked_mean(torch.zeros(3), ~mask)
        with counted_pixels() as inner:
            masked_mean(values, mask)
    assert [int(count) for count in counts] == [2, 1]
    assert [int(count) for count in inner] == [2]


def test_a_part_without_a_pixel_does_not_make_the_mean_of_parts_smaller():
    mask = torch.tensor([True, True])
    parts = [(torch.tensor([1.0, 3.0]), mask), (torch.zeros(2), ~mask)]
    assert float(mean_of_means(parts)) == 2.0
    nothing = torch.zeros(2, requires_grad=True)
    empty = mean_of_means([((nothing + 1).masked_fill(mask, 0), ~mask)] * 2)
    empty.backward()
    assert (float(empty.detach()), nothing.grad.tolist()) == (0.0, [0.0, 0.0])


@pytest.mark.parametrize("name", TERMS)
def test_a_term_without_a_valid_pixel_is_called_empty_unless_it_looks_at_no_truth(name):
    outputs, batch = scene()
    outputs = {key: value.requires_grad_() for key, value in outputs.items()}
    criterion = Criterion({name: make(name)}, {name: 1.0})
    assert criterion(outputs, batch).empty.tolist() == [False]
    nothing = replace(batch, valid=torch.zeros_like(batch.valid))
    result = criterion(outputs, nothing)
    assert result.empty.tolist() == [name in WITH_TRUTH]
    result.total.backward()
    if name in WITH_TRUTH:
        assert float(result.total.detach()) == 0


@pytest.mark.parametrize("name", ["edge", "gradient_matching"])
def test_terms_of_differences_are_empty_where_no_two_valid_pixels_are_neighbours(name):
    outputs, batch = scene()
    lonely = torch.zeros_like(batch.valid)
    lonely[..., 3::9, 3::9] = True
    options = {"scales": 1} if name == "gradient_matching" else {}
    result = Criterion({name: make(name, **options)}, {name: 1.0})(
        {key: value.requires_grad_() for key, value in outputs.items()}, replace(batch, valid=lonely)
    )
    assert result.empty.tolist() == [True]


def test_a_term_that_takes_no_masked_mean_is_never_called_empty():
    outputs, batch = scene()
    outputs["depth"].requires_grad_()
    result = Criterion({"mine": lambda p, b: p["depth"].mean()}, {"mine": 1.0})(outputs, batch)
    assert result.empty.tolist() == [False]
