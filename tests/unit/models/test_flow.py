from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity, grid_sample, interpolate

from weightsearch.errors import OptionError
from weightsearch.models.flow import Flow, cost_volume


def small(**options):
    torch.manual_seed(0)
    return Flow(**{"channels": 4, "neighbours": (-1, 1), **options})


def texture(seed, size):
    """Smooth random colours in [0, 1], [1, 3, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    layers = [
        step
        * interpolate(
            torch.rand(1, 3, height // step + 2, width // step + 2, generator=generator),
            size=size,
            mode="bicubic",
            align_corners=False,
        )
        for step in (3, 6, 12)
    ]
    return (sum(layers) / 21).clamp(0, 1)


class TestCostVolume:
    @pytest.mark.parametrize("radius", [1, 3])
    def test_is_what_a_naive_loop_finds(self, radius):
        torch.manual_seed(1)
        first, second = torch.randn(2, 2, 5, 6, 9, dtype=torch.float64)
        found = cost_volume(first, second, radius)
        side = 2 * radius + 1
        assert found.shape == (2, side**2, 6, 9)
        expected = torch.zeros_like(found)
        for y in range(6):
            for x in range(9):
                for dy in range(-radius, radius + 1):
                    for dx in range(-radius, radius + 1):
                        if 0 <= y + dy < 6 and 0 <= x + dx < 9:
                            channel = (dy + radius) * side + dx + radius
                            one, other = first[:, :, y, x], second[:, :, y + dy, x + dx]
                            expected[:, channel, y, x] = cosine_similarity(one, other, dim=1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)

    def test_has_the_right_gradient(self):
        torch.manual_seed(2)
        first, second = torch.randn(2, 1, 3, 4, 5, dtype=torch.float64, requires_grad=True).unbind()
        assert torch.autograd.gradcheck(lambda one, other: cost_volume(one, other, 2), (first, second))

    def test_features_of_nothing_have_no_angle_and_a_finite_gradient(self):
        nothing = torch.zeros(1, 4, 3, 3, requires_grad=True)
        found = cost_volume(nothing, torch.rand(1, 4, 3, 3), 1)
        found.sum().backward()
        assert not found.any()
        assert torch.isfinite(nothing.grad).all()


@pytest.mark.parametrize(("size", "levels"), [((64, 96), 4), ((50, 77), 4), ((70, 130), 6), ((31, 64), 2)])
def test_a_new_network_sees_hardly_any_motion_at_any_size_but_learns(size, levels):
    network = small(levels=levels)
    outputs = network(torch.rand(2, 3, *size), torch.rand(2, 2, 3, *size))
    assert list(outputs) == ["flow", "backward_flow"]
    for flow in outputs.values():
        assert flow.shape == (2, 2, 2, *size)
        assert flow.abs().mean() < 1
    sum(flow.square().sum() for flow in outputs.values()).backward()
    assert [name for name, one in network.named_parameters() if one.grad is None or not one.grad.any()] == []


@pytest.mark.parametrize(("size", "levels"), [((388, 584), 4), ((16, 16), 4), ((16, 17), 6)])
def test_real_frames_that_no_level_divides_and_pictures_of_which_the_coarsest_level_is_one_pixel(size, levels):
    outputs = small(levels=levels)(torch.rand(1, 3, *size), torch.rand(1, 1, 3, *size))
    for flow in outputs.values():
        assert flow.shape == (1, 1, 2, *size)
        assert torch.isfinite(flow).all()


def test_features_say_how_a_pixel_differs_from_its_picture():
    bright = small().pyramid(0.9 + 0.1 * torch.rand(2, 3, 64, 96))
    assert [tuple(one.shape) for one in bright] == [(2, 8, 16, 24), (2, 12, 8, 12), (2, 12, 4, 6)]
    for feature in bright:
        mean = feature.mean(dim=(2, 3))
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)
        assert feature.std() > 0.1


def test_a_pixel_of_a_coarse_level_is_many_of_the_full_size():
    network = small(levels=4)
    with torch.no_grad():
        for parameter in network.estimators.parameters():
            parameter.zero_()
        for estimator, bias in zip(network.estimators, ([0.0, 1.0], [0.5, 0.0], [-1.0, 0.25]), strict=True):
            estimator[-1].bias.copy_(torch.tensor(bias))
        flow = network(torch.rand(1, 3, 50, 77), torch.rand(1, 1, 3, 50, 77))["flow"]
    x, y = flow[0, 0]
    torch.testing.assert_close(x, torch.full_like(x, 0.5 * 8 - 1.0 * 16))
    torch.testing.assert_close(y, torch.full_like(y, 1.0 * 4 + 0.25 * 16))


def test_a_finer_level_compares_with_the_picture_seen_through_the_flow_so_far():
    """A picture that goes round by 16 pixels, and a coarsest level that knows it: what is left to find is nothing."""
    network = small(levels=4)
    seen = []
    network.estimators[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for parameter in network.estimators.parameters():
            parameter.zero_()
        image = texture(1, (64, 96))
        for columns in (1.0, 0.0):
            network.estimators[2][-1].bias.copy_(torch.tensor([columns, 0.0]))
            network(image, image.roll(16, dims=-1)[:, None])
    aligned, not_aligned = (cost[0, 3 * 7 + 3, 2:-2, 2:-6] for cost in seen)
    assert aligned.mean() > 0.98
    assert not_aligned.mean() < 0.5


def test_every_pair_stands_alone_and_backward_is_forward_of_the_pair_turned_round():
    network = small()
    torch.manual_seed(3)
    image, neighbours = torch.rand(3, 3, 40, 56), torch.rand(3, 2, 3, 40, 56)
    with torch.no_grad():
        together = network(image, neighbours)
        for b in range(3):
            for s in range(2):
                one, other = image[b, None], neighbours[b, s, None]
                there = network(one, other[:, None])
                back = network(other, one[:, None])
                for name, turned in (("flow", "backward_flow"), ("backward_flow", "flow")):
                    torch.testing.assert_close(there[name][0, 0], together[name][b, s], rtol=0, atol=1e-5)
                    torch.testing.assert_close(back[turned][0, 0], together[name][b, s], rtol=0, atol=1e-5)
    assert (together["flow"] - together["backward_flow"]).abs().max() > 1e-2


def test_it_finds_a_shift_of_three_and_two_pixels_from_the_pictures_alone():
    """b shows at p + (3, -2) what a shows at p. The loss sees no truth: colours at the ends of the flow, by a warp of
    the test's own."""
    torch.manual_seed(0)
    whole = texture(0, (56, 72))
    a, b = whole[..., 4:52, 4:68], whole[..., 6:54, 1:65]
    torch.testing.assert_close(b[..., 10 - 2, 10 + 3], a[..., 10, 10])
    network = Flow(channels=12, levels=3, neighbours=(1,)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")

    def seen(picture, flow):
        x, y = (columns + flow[:, 0]) / 63 * 2 - 1, (rows + flow[:, 1]) / 47 * 2 - 1
        return grid_sample(picture, torch.stack([x, y], dim=-1), padding_mode="border", align_corners=True)

    shift = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1)
    errors = []
    for _ in range(100):
        found = network(a, b[:, None])
        there, back = found["flow"][:, 0], found["backward_flow"][:, 0]
        loss = (seen(b, there) - a).abs().mean() + (seen(a, back) - b).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(((there - shift).norm(dim=1).mean().item(), (back + shift).norm(dim=1).mean().item()))
    assert errors[0] == pytest.approx((13**0.5, 13**0.5), abs=0.3)
    assert max(errors[-1]) < 0.3


def test_without_neighbours_there_is_nothing_to_say():
    assert small()(torch.rand(1, 3, 32, 32)) == {}
    with pytest.raises(OptionError, match=r"set data.neighbours, such as \[-1, 1\]") as caught:
        small(neighbours=())
    assert caught.value.option == "neighbours"
