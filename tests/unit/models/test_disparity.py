from __future__ import annotations

import math

import pytest
import torch

from weightsearch.errors import OptionError
from weightsearch.models.disparity import Disparity
from weightsearch.models.parts.decoder import Decoder

SMALL = "test_efficientnet"


def small(**options):
    torch.manual_seed(0)
    return Disparity(**{"encoder": SMALL, "channels": 4, "min_depth": 0.5, "max_depth": 80.0, **options})


@pytest.mark.parametrize("encoder", [SMALL, "test_convnext"])
@pytest.mark.parametrize(
    ("size", "coarser"),
    [((64, 96), [(32, 48), (16, 24), (8, 12)]), ((50, 77), [(25, 39), (13, 20), (7, 10)])],
)
def test_each_scale_has_its_share_of_the_images_size(encoder, size, coarser):
    outputs = small(encoder=encoder, scales=4)(torch.rand(2, 3, *size))
    assert {name: tuple(one.shape) for name, one in outputs.items()} == {
        name: (2, 1, *shape)
        for name, shape in zip(("depth", "depth_2", "depth_4", "depth_8"), [size, *coarser], strict=True)
    }


def test_fewer_scales_give_the_finest():
    assert list(small(scales=1).eval()(torch.rand(1, 3, 32, 32))) == ["depth"]
    assert list(small(scales=2).eval()(torch.rand(1, 3, 32, 32))) == ["depth", "depth_2"]


@pytest.mark.parametrize("logit", [-40.0, -2.0, 0.0, 3.0, 40.0])
def test_disparity_goes_evenly_from_that_of_max_depth_to_that_of_min_depth(logit):
    network = small()
    with torch.no_grad():
        for head in (network.heads, *network.coarser):
            head.weight.zero_()
            head.bias.fill_(logit)
    share = 1 / (1 + math.exp(-logit))
    expected = 1 / (1 / 80 + (2 - 1 / 80) * share)
    for depth in network(torch.rand(2, 3, 32, 48)).values():
        torch.testing.assert_close(depth, torch.full_like(depth, expected), rtol=1e-5, atol=0)


@pytest.mark.parametrize("limits", [(0.5, 80.0), (1e-3, 80.0), (0.3, 6.0), (2.0, 2.1)])
@pytest.mark.parametrize("training", [True, False])
def test_a_new_network_sees_everything_near_the_geometric_middle_and_learns(limits, training):
    low, high = limits
    network = small(min_depth=low, max_depth=high).train(training)
    middle = math.sqrt(low * high)
    assert network.start == pytest.approx(middle)
    for depth in network(torch.rand(4, 3, 64, 96)).values():
        assert depth.log().mean().item() == pytest.approx(math.log(middle), abs=0.1 * math.log(high / low))
        assert ((depth / middle).log().abs() < 0.5).all()
        network.zero_grad()
        (slope,) = torch.autograd.grad(depth.log().mean(), network.decoder.top[0].weight, retain_graph=True)
        assert slope.abs().max() > 0


def test_scales_come_from_the_decoders_levels():
    """A change that a level does not see leaves its depth as it is: the coarser ones do not know the finest feature."""
    network = small(scales=3).eval()
    with torch.no_grad():
        features = network.encoder(torch.rand(1, 3, 64, 96))
        before = network.from_features(features, (64, 96))
        after = network.from_features([features[0] + 1, *features[1:]], (64, 96))
    assert [torch.equal(before[name], after[name]) for name in before] == [False, True, True]


def test_options_that_cannot_be_are_refused():
    with pytest.raises(OptionError, match="test_vit has 3 features; 4 scales need as many") as caught:
        small(encoder="test_vit", scales=4)
    assert caught.value.option == "scales"
    with pytest.raises(OptionError, match="80 must lie below max_depth 80"):
        small(min_depth=80.0)


def test_the_decoders_pyramid_ends_in_what_it_gives():
    torch.manual_seed(0)
    decoder = Decoder([8, 16, 32], 4).eval()
    features = [torch.rand(1, 8, 25, 31), torch.rand(1, 16, 13, 16), torch.rand(1, 32, 7, 8)]
    found = decoder.pyramid(features)
    assert torch.equal(found[0], decoder(features))
    assert [tuple(one.shape) for one in found] == [(1, 4, 25, 31), (1, 8, 13, 16), (1, 16, 7, 8)]
    assert decoder.widths == [4, 8, 16]


def test_disparity_is_float32_under_autocast_and_every_parameter_gets_a_gradient():
    network = small()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(torch.rand(2, 3, 64, 96))
    assert {one.dtype for one in outputs.values()} == {torch.float32}
    sum(one.log().mean() for one in outputs.values()).backward()
    assert [name for name, one in network.named_parameters() if one.grad is None or not one.grad.any()] == []
