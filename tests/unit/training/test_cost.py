from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.trainings import CPU, configuration
from weightsearch.errors import ModelError, OptionError, WeightsearchError
from weightsearch.runtime.network import build_network
from weightsearch.training.cost import _rate, measure_cost


class Flat(torch.nn.Module):
    """One 3 x 3 convolution, 3 channels to 1, that says three heads: 27 multiply-adds and 28 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, image):
        share = self.net(image).sigmoid()
        return {"integer": share, "fractional": share, "depth": 6 * share}


FLAT = "model={name: 'tests.unit.training.test_cost:Flat'}"


def test_one_convolution_costs_what_is_counted_by_hand(tiny):
    found = measure_cost(configuration(tiny, FLAT, "data.size=[64, 96]"), CPU, seconds=0.1)
    assert found.parameters == 28
    assert found.encoder_parameters == 0
    assert found.encoder is None
    assert found.multiply_adds == 27 * 64 * 96
    assert found.size == (64, 96)
    assert found.predicted > found.trained > 0
    assert 0 < found.memory < 60 * 2**20


def test_a_larger_picture_costs_in_proportion_and_an_encoder_is_counted_apart(tiny):
    small = measure_cost(configuration(tiny, "data.size=[64, 96]"), CPU, seconds=0.1)
    large = measure_cost(configuration(tiny, "data.size=[128, 192]"), CPU, seconds=0.1)
    network = build_network(configuration(tiny))
    assert small.parameters == large.parameters == sum(one.numel() for one in network.parameters())
    assert small.encoder_parameters == sum(one.numel() for one in network.encoder.parameters())
    assert 0 < small.encoder_parameters < small.parameters
    assert large.multiply_adds == pytest.approx(4 * small.multiply_adds, rel=0.02)
    assert small.encoder == "test_efficientnet"


def test_an_encoder_that_is_known_has_its_published_size(tiny):
    """EfficientNet-Lite0: 4.7 M parameters with its classifier of 1.28 M, .4 G multiply-adds at 224 x 224."""
    found = measure_cost(
        configuration(tiny, "model.encoder=tf_efficientnet_lite0", "data.size=[224, 224]"), CPU, seconds=0.1
    )
    assert found.encoder_parameters == pytest.approx(3.37e6, rel=0.15)  # without the last 1 x 1 convolution
    assert 0.35e9 < found.multiply_adds < 0.8e9


def test_a_frozen_encoder_costs_as_much_forward(tiny):
    """Its features may be kept, but a new image has to go through it."""
    free = measure_cost(configuration(tiny), CPU, seconds=0.1)
    frozen = measure_cost(configuration(tiny, "train.freeze_encoder=true"), CPU, seconds=0.1)
    assert frozen.multiply_adds == free.multiply_adds > 0
    assert frozen.parameters == free.parameters


class Breaks(nn.Module):
    """Raises what cannot be sent from one process to another as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, image):
        raise OptionError("size", "too small") if self.training else ValueError("no")


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["model={name: 'tests.unit.training.test_cost:Breaks'}"], "size: too small"),
        (
            ["evaluation={bits: 8}", "loss={ssim: {weight: 1.0, window: 63}}", "data.size=[32, 48]"],
            "loss.ssim.window: 63",
        ),
        (
            ["model.encoder=test_vit", "data.size=[50, 70]"],
            r"model.encoder: test_vit does not take images of \[50, 70\] pixels \(data.size\)",
        ),
    ],
)
def test_a_network_that_fails_is_one_line(tiny, sets, words):
    with pytest.raises(ModelError, match=words) as caught:
        measure_cost(configuration(tiny, *sets), CPU)
    assert "\n" not in str(caught.value)


def test_rates_go_by_the_clock_that_is_given():
    """A clock that only a step moves on, by half a second: eight images a second in batches of four."""
    now = [0.0]

    def step() -> None:
        now[0] += 0.5

    assert _rate(CPU, 4, step, 3.0, lambda: now[0]) == 8.0


def test_processor_time_is_of_processors(tiny):
    with pytest.raises(WeightsearchError, match="--cpu-time: found the device cuda"):
        measure_cost(configuration(tiny), torch.device("cuda"), cpu_time=True)
    assert measure_cost(configuration(tiny, FLAT), CPU, seconds=0.1, cpu_time=True).predicted > 0
