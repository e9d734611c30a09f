from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from weightsearch.config import load_study
from weightsearch.data.dataset import open_dataset
from weightsearch.runtime.batches import batches
from weightsearch.runtime.layout import channels_last
from weightsearch.training.loop import Trainer

CPU = torch.device("cpu")
SCRIPT = """
import torch
from torch import nn
from weightsearch.runtime.layout import channels_last
torch.set_num_threads(1)
network = channels_last(nn.Sequential(nn.Conv2d(3, 48, 1, 2, bias=False)), torch.device("cpu"))
for step in range(40):
    found = network(torch.rand(2, 3, 96, 128).to(memory_format=torch.channels_last))
    found.backward(torch.rand_like(found))
    others = [torch.rand(number * 37 % 5000 + 1) for number in range(50)]
"""


@pytest.mark.parametrize("stride", [2, 3, (1, 2)])
def test_strided_convolutions_of_one_pixel_give_the_same_values_and_gradients(stride):
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 5, 1, stride)
    network = channels_last(nn.Sequential(nn.Conv2d(3, 5, 1, stride)), CPU)
    network[0].load_state_dict(plain.state_dict())
    image = torch.rand(2, 3, 17, 20)
    expected, found = plain(image), network(image.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected)
    weight = torch.rand_like(expected)
    (expected * weight).sum().backward()
    (found * weight).sum().backward()
    torch.testing.assert_close(network[0].weight.grad, plain.weight.grad)
    torch.testing.assert_close(network[0].bias.grad, plain.bias.grad)


def test_other_convolutions_stay_as_they_are():
    network = channels_last(nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.Conv2d(64, 8, 1, 2), nn.Conv2d(3, 8, 1)), CPU)
    assert [one.stride for one in network] == [(2, 2), (2, 2), (1, 1)]
    assert not any(one._forward_pre_hooks for one in network)


def test_no_gradient_is_written_beyond_its_memory():
    """Without the detour this process aborts: corrupted size vs. prev_size."""
    checked = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=checked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("last", [True, False])
def test_the_checks_before_a_training_use_its_memory_layout(tiny, last):
    """With weights and images in two layouts RepVGG's branch of one pixel writes beyond its memory."""
    sets = [
        "model={name: encoder_decoder, encoder: repvgg_a0, weights: none, resolution: half}",
        "loss={mae: {weight: {low: 0.1, high: 1}}}",
        "search.baselines={}",
        "data.size=[96, 128]",
        f"train.channels_last={str(last).lower()}",
    ]
    options = [part for one in sets for part in ("--set", one)]
    checked = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    asked = [sys.executable, "-m", "weightsearch", "validate", str(tiny), *options]
    done = subprocess.run(asked, env=checked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("last", [True, False])
def test_network_and_pictures_have_the_layout_that_is_asked_for(tiny, last):
    """A network that calls `view` needs channels_last: false."""
    made = load_study(tiny, [f"train.channels_last={str(last).lower()}"]).base
    trainer = Trainer(made, open_dataset(made), CPU)
    batch = next(iter(batches(trainer.dataset, trainer.dataset.splits["train"], 4, CPU)))
    weights = [
        one.weight for one in trainer.network.modules() if isinstance(one, nn.Conv2d) and one.kernel_size > (1, 1)
    ]
    for tensor in (batch.image, *(weight for weight in weights if weight.shape[1] > 1)):
        assert tensor.is_contiguous() is not last
        assert tensor.is_contiguous(memory_format=torch.channels_last) is last
