from __future__ import annotations

import pytest
import torch

from weightsearch.errors import OptionError
from weightsearch.models.co_training import CoTraining
from weightsearch.models.parts.encoder import Encoder
from weightsearch.models.parts.pose import PoseNet, inverted, rotated
from weightsearch.plugins import all_options, build

CONTEXT = {"size": [64, 96], "min_depth": 0.5, "max_depth": 80.0, "neighbours": (-1, 1)}
TINY = {"encoder": "test_efficientnet", "channels": 4, "flow_channels": 8, "pose_channels": 4}


def tiny(**options):
    torch.manual_seed(0)
    return build("model", "co_training", {**TINY, **options}, CONTEXT)


def frames(batch=2, count=2, size=(64, 96)):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, *size, generator=generator), torch.rand(batch, count, 3, *size, generator=generator)


def matrix(pose):
    """[..., 4, 4] of [..., 6], by the matrix exponential of the rotation vector's cross product."""
    x, y, z = pose[..., :3].double().unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    found = torch.eye(4, dtype=torch.float64).repeat(*pose.shape[:-1], 1, 1)
    found[..., :3, :3] = torch.matrix_exp(cross)
    found[..., :3, 3] = pose[..., 3:].double()
    return found


@pytest.mark.parametrize("size", [(64, 96), (50, 77)])
def test_all_outputs_have_their_shapes_and_are_float32(size):
    image, neighbours = frames(size=size)
    network = tiny()
    assert network.takes_neighbours
    height, width = size
    half, quarter = ((height + 1) // 2, (width + 1) // 2), ((height + 3) // 4, (width + 3) // 4)
    outputs = network(image, neighbours)
    assert {name: tuple(one.shape) for name, one in outputs.items()} == {
        "depth": (2, 1, *size),
        "depth_2": (2, 1, *half),
        "depth_4": (2, 1, *quarter),
        "pose": (2, 2, 6),
        "flow": (2, 2, 2, *size),
        "backward_flow": (2, 2, 2, *size),
    }
    assert {one.dtype for one in outputs.values()} == {torch.float32}
    assert all(torch.isfinite(one).all() for one in outputs.values())


@pytest.mark.parametrize("training", [True, False])
def test_without_neighbours_it_gives_the_same_depth_alone(training):
    image, neighbours = frames()
    network = tiny().train(training)
    with torch.no_grad():
        alone, all_of_it = network(image), network(image, neighbours)
    assert list(alone) == ["depth", "depth_2", "depth_4"]
    assert all(torch.equal(alone[name], all_of_it[name]) for name in alone)


@pytest.mark.parametrize("motion_from", ["images", "flow", "both"])
def test_gradients_reach_every_parameter_and_none_goes_astray(motion_from):
    image, neighbours = frames()
    network = tiny(motion_from=motion_from)
    outputs = network(image, neighbours)

    def reached(*names):
        network.zero_grad()
        sum(outputs[name].square().sum() for name in names).backward(retain_graph=True)
        return {name for name, one in network.named_parameters() if one.grad is not None and one.grad.any()}

    every = {name for name, _ in network.named_parameters()}
    assert reached(*outputs) == every
    parts = {name: {one for one in every if one.startswith(f"{name}.")} for name in ("depth", "pose", "flow")}
    assert reached("depth", "depth_2", "depth_4") == parts["depth"]
    assert reached("pose") == parts["pose"]
    assert reached("flow") == reached("backward_flow") == parts["flow"]


def test_flows_are_those_of_the_flow_network():
    image, neighbours = frames()
    network = tiny().eval()
    with torch.no_grad():
        found, own = network(image, neighbours), network.flow(image, neighbours)
        pose = network.pose(image, neighbours, own["flow"], own["backward_flow"])
    assert all(torch.equal(found[name], one) for name, one in {**own, "pose": pose}.items())


def test_every_pair_stands_alone():
    image, neighbours = frames(batch=3)
    network = tiny().eval()
    with torch.no_grad():
        together = network(image, neighbours)
        turned = network(image.flip(0), neighbours.flip(0))
    for name, one in together.items():
        torch.testing.assert_close(turned[name].flip(0), one, rtol=1e-5, atol=1e-6)
    for place, offset in enumerate((-1, 1)):
        alone = tiny().eval()
        alone.pose.neighbours = (offset,)
        with torch.no_grad():
            found = alone(image, neighbours[:, place, None])
        for name in ("pose", "flow", "backward_flow"):
            torch.testing.assert_close(found[name][:, 0], together[name][:, place], rtol=1e-5, atol=1e-5)


class TestPose:
    @pytest.mark.parametrize("motion_from", ["images", "flow", "both"])
    def test_from_the_later_frame_it_is_the_inverse_of_that_from_the_earlier_one(self, motion_from):
        torch.manual_seed(2)
        ahead = PoseNet(neighbours=(1,), start_depth=5.0, channels=4, motion_from=motion_from)
        behind = PoseNet(neighbours=(-3,), start_depth=5.0, channels=4, motion_from=motion_from)
        with torch.no_grad():
            ahead.head.weight.mul_(300)
        behind.load_state_dict(ahead.state_dict())
        earlier, later = torch.rand(2, 4, 3, 32, 48)
        there, back = torch.randn(2, 4, 1, 2, 32, 48)
        with torch.no_grad():
            forth = ahead(earlier, later[:, None], there, back)
            return_ = behind(later, earlier[:, None], back, there)
        assert forth[..., :3].norm(dim=-1).min() > 0.1
        assert forth[..., 3:].norm(dim=-1).min() > 0.1
        both = matrix(return_) @ matrix(forth)
        torch.testing.assert_close(both, torch.eye(4, dtype=torch.float64).expand_as(both), rtol=0, atol=1e-5)

    def test_it_sees_the_earlier_frame_first_and_the_flow_from_it_to_the_later_one(self):
        image, neighbours = frames(batch=1, size=(32, 48))
        flow, backward = torch.randn(2, 1, 2, 2, 32, 48)
        network = PoseNet(neighbours=(-1, 1), start_depth=5.0, channels=4)
        seen = []
        network.features.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        network(image, neighbours, flow, backward)
        tenth = 20 / torch.tensor([48.0, 32.0]).view(2, 1, 1)
        pairs = [(neighbours[0, 0], image[0], backward[0, 0]), (image[0], neighbours[0, 1], flow[0, 1])]
        for found, (earlier, later, between) in zip(seen[0], pairs, strict=True):
            torch.testing.assert_close(found[:8], torch.cat([earlier - 0.5, later - 0.5, between * tenth]))
            x, y = found[8:]
            assert [one.tolist() for one in (x[5, [0, -1]], y[[0, -1], 5])] == [[-1, 1], [-1, 1]]

    def test_it_looks_at_what_it_is_told_to(self):
        image, neighbours = frames(size=(32, 48))
        flow, backward = torch.randn(2, 2, 2, 2, 32, 48)
        changed = {
            "images": (1 - image, 1 - neighbours, flow, backward),
            "flow": (image, neighbours, 2 * flow, 2 * backward),
        }
        for motion_from, seen in {"images": {"images"}, "flow": {"flow"}, "both": {"images", "flow"}}.items():
            torch.manual_seed(3)
            network = PoseNet(neighbours=(-1, 1), start_depth=5.0, channels=4, motion_from=motion_from)
            with torch.no_grad():
                before = network(image, neighbours, flow, backward)
                assert {name for name, given in changed.items() if not torch.equal(network(*given), before)} == seen

    def test_a_flow_means_the_same_at_any_size(self):
        """Twice the size and twice as many pixels of flow are the same motion."""
        network = PoseNet(neighbours=(1,), start_depth=5.0, motion_from="flow")
        coarse = torch.tensor([2.0, -1.0]).view(1, 1, 2, 1, 1).expand(1, 1, 2, 64, 96)
        fine = 2 * torch.ones(1, 1, 2, 128, 192) * coarse[..., :1, :1]
        seen = []
        network.features.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
        for flow in (coarse, fine):
            image = torch.zeros(1, 3, *flow.shape[-2:])
            network(image, image[:, None], flow, -flow)
        for there in (0, -1):
            torch.testing.assert_close(seen[0][..., there, there], seen[1][..., there, there])

    def test_a_new_network_sees_little_motion_in_the_scale_that_depth_starts_at(self):
        found = {}
        for far in (2.0, 20.0):
            torch.manual_seed(4)
            network = PoseNet(neighbours=(-1, 1), start_depth=far)
            with torch.no_grad():
                found[far] = network(*frames(), *torch.randn(2, 2, 2, 2, 64, 96))
        assert found[2.0][..., :3].abs().max() < 0.02
        assert found[2.0][..., 3:].abs().max() < 0.1 * 2
        torch.testing.assert_close(found[2.0][..., :3], found[20.0][..., :3])
        torch.testing.assert_close(10 * found[2.0][..., 3:], found[20.0][..., 3:])
        network = tiny()
        assert network.pose.scale.tolist() == pytest.approx([0.01] * 3 + [0.05 * 40**0.5] * 3)

    @pytest.mark.parametrize("angle", [0.0, 1e-6, 1e-3, 0.5, 3.0])
    def test_rotations_and_inverses_are_those_of_matrices(self, angle):
        torch.manual_seed(5)
        axis = torch.nn.functional.normalize(torch.randn(7, 3, dtype=torch.float64), dim=-1)
        pose = torch.cat([angle * axis, torch.randn(7, 3, dtype=torch.float64)], dim=-1).requires_grad_()
        turned = rotated(pose[:, :3], pose[:, 3:])
        expected = (matrix(pose)[:, :3, :3] @ pose[:, 3:, None])[..., 0]
        torch.testing.assert_close(turned, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(matrix(inverted(pose)), torch.linalg.inv(matrix(pose)), rtol=0, atol=1e-12)
        inverted(pose).sum().backward()
        assert torch.isfinite(pose.grad).all()

    def test_another_number_of_neighbours_is_an_error(self):
        image, neighbours = frames(count=3)
        with pytest.raises(ValueError, match="zip"):
            tiny()(image, neighbours)


def test_half_precision_gives_finite_values_and_gradients_close_to_those_of_float32():
    image, neighbours = frames()
    network = tiny().eval()
    with torch.no_grad():
        exact = network(image, neighbours)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network.train()(image, neighbours)
    assert {one.dtype for one in outputs.values()} == {torch.float32}
    assert all(torch.isfinite(one).all() for one in outputs.values())
    sum(one.mean() for one in outputs.values()).backward()
    assert all(torch.isfinite(one.grad).all() for one in network.parameters())
    assert (outputs["flow"] - exact["flow"]).abs().mean() < 0.05
    assert (outputs["pose"] - exact["pose"]).abs().max() < 0.05 * exact["pose"].abs().max()


def test_colours_side_by_side_in_memory_change_nothing():
    image, neighbours = frames()
    plain, other = tiny().eval(), tiny().eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = plain(image, neighbours)
        found = other(image.contiguous(memory_format=torch.channels_last), neighbours)
    for name, one in expected.items():
        torch.testing.assert_close(found[name], one, rtol=1e-5, atol=1e-5)


def test_training_repeats_bit_for_bit():
    image, neighbours = frames()

    def trained():
        network = tiny().to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(3):
            optimizer.zero_grad()
            sum(one.square().mean() for one in network(image, neighbours).values()).backward()
            optimizer.step()
        return network.state_dict()

    first, second = trained(), trained()
    assert all(torch.equal(first[name], second[name]) for name in first)


class TestOptions:
    def test_parts_and_encoder_have_the_names_that_a_study_file_uses(self):
        network = tiny()
        assert isinstance(network, CoTraining)
        assert [name for name, _ in network.named_children()] == ["depth", "pose", "flow"]
        assert isinstance(network.encoder, Encoder)
        assert network.encoder is network.depth.encoder

    def test_the_datas_values_are_taken_where_none_are_given(self):
        found = all_options("model", "co_training", {"flow_levels": 3, "max_depth": 60.0}, CONTEXT)
        assert found["neighbours"] == [-1, 1]
        assert (found["min_depth"], found["max_depth"], found["flow_levels"]) == (0.5, 60.0, 3)
        assert (found["motion_from"], found["scales"]) == ("both", 3)

    @pytest.mark.parametrize(
        ("option", "value"),
        [("motion_from", "sound"), ("scales", 5), ("flow_levels", 1), ("flow_channels", 6), ("pose_channels", 0)],
    )
    def test_others_are_refused_by_name(self, option, value):
        with pytest.raises(OptionError) as caught:
            tiny(**{option: value})
        assert caught.value.option == option

    @pytest.mark.parametrize("name", ["co_training", "flow"])
    def test_without_neighbours_it_cannot_be_made(self, name):
        with pytest.raises(OptionError) as caught:
            build("model", name, {}, {**CONTEXT, "neighbours": ()})
        assert caught.value.option == "neighbours"
