from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from weightsearch.errors import ModelError
from weightsearch.models.dual_head import DualHead, decode_depth
from weightsearch.models.parts.decoder import Decoder
from weightsearch.models.parts.encoder import Encoder

SMALL = "test_efficientnet"


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_byobnet", "test_convnext"])
@pytest.mark.parametrize("size", [(64, 96), (50, 70)])
def test_any_encoder_and_any_size_give_outputs_of_the_images_size(name, size):
    network = DualHead(encoder=name, channels=4, max_depth=10.0).eval()
    outputs = network(torch.rand(2, 3, *size))
    assert set(outputs) == {"integer", "fractional", "depth"}
    for output in outputs.values():
        assert output.shape == (2, 1, *size)
        assert torch.isfinite(output).all()
    assert (outputs["integer"] > 0).all()
    assert (outputs["integer"] < 1).all()
    assert (outputs["depth"] <= 11).all()


def test_every_parameter_gets_a_gradient():
    network = DualHead(encoder=SMALL, channels=4, max_depth=10.0)
    network(torch.rand(2, 3, 64, 64))["depth"].mean().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


class TestDecoding:
    def test_linear(self):
        depth = decode_depth(torch.tensor([0.5]), torch.tensor([0.25]), max_depth=15, rounded=False)
        assert depth.tolist() == [7.75]

    @pytest.mark.parametrize("max_depth", [6.0, 10.0, 15.0, 80.0])
    def test_rounded_is_exact_below_half_a_step_and_a_metre_off_beyond(self, max_depth):
        y = torch.linspace(0.5, max_depth - 0.5, 301)
        whole, part = y.floor() / max_depth, y - y.floor()
        for error, expected in ((0.49 / max_depth, 0.0), (-0.49 / max_depth, 0.0), (0.51 / max_depth, 1.0)):
            found = decode_depth(whole + error, part, max_depth=max_depth, rounded=True)
            torch.testing.assert_close(found - y, torch.full_like(y, expected), atol=1e-4, rtol=0)

    def test_range(self):
        one = torch.ones(1)
        assert decode_depth(one, one, max_depth=15, rounded=False).tolist() == [16.0]


class TestWeights:
    def test_real_imagenet_weights_fill_the_encoder(self, data_root):
        path = data_root / "weights" / "tf_efficientnet_lite0.safetensors"
        encoder = Encoder("tf_efficientnet_lite0", str(path))
        stored = load_file(path)
        for name, value in encoder.net.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(value, stored[name]), name
        assert encoder.mean.flatten().tolist() == [0.5, 0.5, 0.5]

    def test_files_of_another_network_are_refused_with_what_is_wrong(self, data_root, tmp_path):
        path = str(data_root / "weights" / "tf_efficientnet_lite0.safetensors")
        with pytest.raises(
            ModelError,
            match=r"does not fit test_resnet: \d+ of \d+ tensors fit; \d+ missing \(.*\); \d+ unexpected \(.*\)",
        ):
            Encoder("test_resnet", path)
        state = Encoder(SMALL).net.state_dict()
        first = next(iter(state))
        state[first] = torch.zeros(3)
        save_file(state, tmp_path / "w.safetensors")
        with pytest.raises(
            ModelError,
            match=rf"\d+ of \d+ tensors fit; 0 missing; 0 unexpected; 1 of another shape \({first} \[3\] instead of",
        ):
            Encoder(SMALL, str(tmp_path / "w.safetensors"))

    @pytest.mark.parametrize("name", ["densenet121", "resnet18", "efficientnet_b0"])
    def test_a_whole_model_s_file_fills_the_features_whatever_they_are_called(self, tmp_path, name):
        """timm renames what it takes out of a DenseNet; with the same weights the features are the same."""
        torch.manual_seed(0)
        whole = timm.create_model(name).eval()
        save_file(whole.state_dict(), tmp_path / "w.safetensors")
        encoder = Encoder(name, str(tmp_path / "w.safetensors")).eval()
        image = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            deepest = encoder(image)[-1]
            whole_features = whole.forward_features((image - encoder.mean) / encoder.std)
        assert sum(p.numel() for p in encoder.parameters()) > 1e6
        if deepest.shape == whole_features.shape:
            torch.testing.assert_close(deepest, whole_features)
        stored = {value.numel() for value in whole.state_dict().values()}
        assert {value.numel() for value in encoder.net.state_dict().values()} <= stored
        state = whole.state_dict()
        lost = next(key for key in state if key.endswith(("conv1.weight", "conv_stem.weight")))
        del state[lost]
        save_file(state, tmp_path / "less.safetensors")
        with pytest.raises(ModelError, match=rf"does not fit {name}: \d+ of \d+ tensors fit; 1 missing \({lost}\)"):
            Encoder(name, str(tmp_path / "less.safetensors"))

    @pytest.mark.parametrize("wrap", ["bare", "state_dict", "module"])
    def test_pth_files_round_trip(self, tmp_path, wrap):
        state = Encoder(SMALL).net.state_dict()
        content = {
            "bare": state,
            "state_dict": {"state_dict": state},
            "module": {f"module.{k}": v for k, v in state.items()},
        }
        torch.save(content[wrap], tmp_path / "w.pth")
        loaded = Encoder(SMALL, str(tmp_path / "w.pth")).net.state_dict()
        assert all(torch.equal(loaded[key], state[key]) for key in state)

    def test_a_pickle_that_would_run_code_is_not_loaded(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (print, ("ran",))

        torch.save({"x": Evil()}, tmp_path / "w.pth")
        with pytest.raises(ModelError, match=r"holds Python objects beside its tensors \(builtins.print\)"):
            Encoder(SMALL, str(tmp_path / "w.pth"))

    def test_damaged_files_are_named(self, tmp_path):
        for name in ("w.pth", "w.safetensors"):
            (tmp_path / name).write_bytes(b"no weights")
            with pytest.raises(ModelError, match=f"{name}"):
                Encoder(SMALL, str(tmp_path / name))


def test_decoder_follows_the_features_sizes():
    decoder = Decoder([8, 16, 32], 4)
    features = [torch.rand(1, 8, 25, 31), torch.rand(1, 16, 13, 16), torch.rand(1, 32, 7, 8)]
    assert decoder(features).shape == (1, 4, 25, 31)
