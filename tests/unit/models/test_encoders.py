"""A few encoders of each kind; `benchmarks/encoders.py` runs one of every family that timm has."""

from __future__ import annotations

from itertools import pairwise

import pytest
import timm
import torch
from safetensors.torch import save_file

from weightsearch.errors import ModelError
from weightsearch.models.disparity import Disparity
from weightsearch.models.dual_head import DualHead
from weightsearch.models.parts.encoder import Encoder
from weightsearch.models.parts.encoder_size import size_options, takes

KINDS = {
    "NHWC": "test_mambaout",
    "NHWC, windows, an image size of its own": "swin_tiny_patch4_window7_224",
    "all features at one stride": "test_vit",
    "all features at stride 7": "convmixer_768_32",
    "an image size of its own, no option for others": "pit_ti_224",
    "strides from 1": "vgg11",
    "strides from 8": "csatv2",
    "strides from 16": "shvit_s1",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_encoder_learns_depth_at_the_size_of_the_data(kind):
    size = (64, 128)
    torch.manual_seed(0)
    network = DualHead(encoder=KINDS[kind], channels=4, max_depth=10.0, size=size)
    network = network.to(memory_format=torch.channels_last)
    encoder = network.encoder
    image = torch.rand(2, 3, *size).to(memory_format=torch.channels_last)
    features = encoder(image)
    assert [feature.shape[1] for feature in features] == encoder.channels
    assert all(fine.shape[-1] >= coarse.shape[-1] for fine, coarse in pairwise(features))
    depth = network(image)["depth"]
    assert depth.shape == (2, 1, *size)
    depth.mean().backward()
    assert all(one.grad is not None for one in network.decoder.parameters())
    assert any(one.grad is not None and one.grad.abs().sum() > 0 for one in encoder.parameters())


def test_features_of_one_stride_become_a_pyramid():
    """A decoder that stays at a stride of 16 would see 4 x 6 positions and blur whatever is smaller."""
    network = Disparity(encoder="test_vit", channels=4, scales=3, min_depth=0.5, max_depth=8.0, size=(64, 96)).eval()
    image = torch.rand(1, 3, 64, 96)
    features = network.encoder(image)
    assert {tuple(feature.shape[-2:]) for feature in features} == {(4, 6)}
    assert [tuple(one.shape[-2:]) for one in network.decoder.pyramid(features)] == [(16, 24), (8, 12), (4, 6)]
    assert {name: one.shape[-1] for name, one in network(image).items()} == {"depth": 96, "depth_2": 48, "depth_4": 24}


def test_crops_of_another_size_than_the_images_where_the_encoder_allows_it():
    network = DualHead(encoder="test_vit", channels=4, max_depth=10.0, size=(64, 96)).train()
    for size in ((64, 96), (32, 48)):
        assert network(torch.rand(2, 3, *size))["depth"].shape == (2, 1, *size)


@pytest.mark.parametrize(
    ("name", "size", "image", "message"),
    [
        (
            "test_vit",
            (50, 70),
            (50, 70),
            "model.encoder: test_vit does not take images of [50, 70] pixels (data.size); height and width must be "
            "multiples of 16; [48, 64] and [64, 80] fit",
        ),
        (
            "halonet_h1",
            (96, 128),
            (96, 128),
            "model.encoder: halonet_h1 does not take images of [96, 128] pixels (data.size); height and width must be "
            "multiples of 256; [256, 256] fits",
        ),
        (
            "convit_tiny",
            (96, 128),
            (96, 128),
            "model.encoder: convit_tiny does not take images of [96, 128] pixels (data.size); it takes [224, 224] alone",
        ),
        (
            "levit_128s",
            (96, 128),
            (64, 64),
            "model.encoder: levit_128s does not take images of [64, 64] pixels (augmentation.crop); it was made for "
            "data.size [96, 128] and cannot be trained on crops of another size",
        ),
        (
            "test_vit",
            (64, 96),
            (40, 40),
            "model.encoder: test_vit does not take images of [40, 40] pixels (augmentation.crop); height and width must "
            "be multiples of 16; [32, 32] and [48, 48] fit",
        ),
    ],
)
def test_a_size_that_does_not_fit_is_refused_with_those_that_do(name, size, image, message):
    network = DualHead(encoder=name, channels=4, max_depth=10.0, size=size)
    with pytest.raises(ModelError) as error:
        network(torch.rand(1, 3, *image))
    assert str(error.value) == message


def test_a_fault_that_is_not_about_the_size_is_not_called_one():
    encoder = Encoder("test_resnet", size=(64, 96))
    with pytest.raises(RuntimeError, match="dtype|type"):
        encoder(torch.rand(1, 3, 64, 96).double())


def test_looking_for_the_options_of_a_size_takes_no_random_number():
    size_options.cache_clear()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert size_options("swin_tiny_patch4_window7_224", (96, 128)) == {"dynamic_img_size": True}
    assert size_options("levit_128s", (96, 128)) == {"img_size": (96, 128)}
    assert size_options("resnet18", (96, 128)) == {}
    assert takes("resnet18", {}, (50, 70))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["test_vit", "test_mambaout", "efficientvit_m0"])
def test_weights_of_the_whole_model_fill_the_features_at_any_size(tmp_path, name):
    """Whatever the encoder was initialised with, the features are those of the file."""
    torch.manual_seed(0)
    save_file(
        {key: one.clone().contiguous() for key, one in timm.create_model(name).state_dict().items()},
        tmp_path / "w.safetensors",
    )
    image = torch.rand(1, 3, 96, 128)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        encoder = Encoder(name, str(tmp_path / "w.safetensors"), (96, 128)).eval()
        with torch.no_grad():
            found.append(encoder(image))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_weights_for_an_image_size_that_cannot_be_changed(tmp_path):
    name = "cait_xxs24_224"
    save_file(timm.create_model(name).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError) as error:
        Encoder(name, str(tmp_path / "w.safetensors"), (96, 128))
    assert str(error.value) == (
        f"model.weights: {tmp_path / 'w.safetensors'} fits {name} only at data.size [224, 224], not at [96, 128]: parts "
        "of this encoder depend on the image size"
    )
