from __future__ import annotations

import pytest
import torch

from tests.helpers.trainings import CPU, configuration
from weightsearch.data.dataset import open_dataset
from weightsearch.errors import ModelError, OptionError
from weightsearch.models.encoder_decoder import EncoderDecoder
from weightsearch.models.parts.decoder import Decoder, DenseDepthDecoder, make_decoder
from weightsearch.runtime.network import build_network
from weightsearch.training.loop import Trainer

NAMES = ("light", "densedepth", "densedepth_half")
RANGE = {"min_depth": 0.1, "max_depth": 10.0}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoder", ["test_efficientnet", "test_resnet", "test_convnext"])
@pytest.mark.parametrize("size", [(64, 96), (50, 70)])
def test_every_decoder_gives_depth_at_full_and_at_half_resolution(name, encoder, size):
    image = torch.rand(2, 3, *size)
    for resolution, divisor in (("full", 1), ("half", 2)):
        network = EncoderDecoder(encoder=encoder, decoder=name, resolution=resolution, **RANGE)
        depth = network(image)["depth"]
        assert depth.shape == (2, 1, -(-size[0] // divisor), -(-size[1] // divisor))
        assert ((depth > 0.1) & (depth < 10)).all()
        depth.mean().backward()
        assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_level_has_the_size_of_its_feature_and_the_width_that_is_promised(name):
    channels, sizes = [8, 12, 20, 40, 64], [(25, 31), (13, 16), (7, 8), (4, 4), (2, 2)]
    features = [torch.rand(1, width, *size) for width, size in zip(channels, sizes, strict=True)]
    decoder = make_decoder(name, channels, 4)
    found = decoder.pyramid(features)
    assert [tuple(one.shape[-2:]) for one in found] == sizes
    assert [one.shape[1] for one in found] == decoder.widths
    assert decoder.channels == decoder.widths[0]
    expected = {"light": [4, 8, 16, 32, 32], "densedepth": [4, 8, 16, 32, 64], "densedepth_half": [2, 4, 8, 16, 32]}
    assert decoder.widths == expected[name]


def test_over_densenet169_it_has_the_papers_42_6_million_parameters():
    """Alhashim and Wonka 2018, with the skip connections of the paper, which lie behind the transition layers."""
    encoder = EncoderDecoder(encoder="densenet169", **RANGE).encoder
    assert encoder.channels == [64, 256, 512, 1280, 1664]  # before them: what timm gives
    decoder = DenseDepthDecoder([64, 64, 128, 256, 1664], 1.0)
    assert decoder.widths == [104, 208, 416, 832, 1664]
    last = torch.nn.Conv2d(104, 1, 3)
    assert (count(encoder) + count(decoder) + count(last)) / 1e6 == pytest.approx(42.6, abs=0.1)


@pytest.mark.parametrize(
    ("encoder", "light", "densedepth", "half"),
    [
        ("densenet121", 9.08, 23.64, 12.94),
        ("densenet169", 14.99, 52.12, 26.10),
        ("densenet201", 21.22, 73.15, 37.36),
        ("tf_efficientnet_b0", 4.24, 4.82, 3.98),
    ],
)
def test_parameters_in_millions_are_those_that_the_results_print(encoder, light, densedepth, half):
    found = [count(EncoderDecoder(encoder=encoder, decoder=name, **RANGE)) / 1e6 for name in NAMES]
    assert found == pytest.approx([light, densedepth, half], abs=0.005)


def test_the_decoder_is_light_with_16_channels_unless_told_otherwise():
    network = EncoderDecoder(encoder="test_resnet", **RANGE)
    assert type(network.decoder) is Decoder
    assert network.decoder.channels == 16
    assert EncoderDecoder(encoder="test_resnet", channels=4, **RANGE).decoder.channels == 4


def test_channels_of_a_decoder_that_has_its_own_are_refused(tiny):
    message = r"channels.*found 16; the decoder 'densedepth' takes its width from the encoder: leave channels out"
    with pytest.raises(OptionError, match=message):
        EncoderDecoder(encoder="test_resnet", decoder="densedepth", channels=16, **RANGE)
    model = "model={name: encoder_decoder, encoder: test_resnet, decoder: densedepth, channels: 16}"
    with pytest.raises(ModelError, match=rf"model\.{message}"):
        build_network(configuration(tiny, model, "loss={mae: {weight: 1.0}}"))


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(tiny, name):
    model = f"model={{name: encoder_decoder, encoder: test_efficientnet, decoder: {name}}}"
    found = configuration(tiny, model, "loss={mae: {weight: 1.0}}", "train.epochs=6", "train.lr=3.0e-3")
    trainer = Trainer(found, open_dataset(found), CPU)
    losses = [trainer.train_epoch().train_loss for _ in range(6)]
    assert losses[-1] < 0.8 * losses[0]
