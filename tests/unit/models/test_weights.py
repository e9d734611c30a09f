"""Weights as other programs save them: every file here is really written, in the form that program gives it."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from weightsearch.errors import ModelError
from weightsearch.models.dual_head import DualHead
from weightsearch.models.parts.encoder import Encoder
from weightsearch.tensor_files import not_finite

SMALL = "test_efficientnet"


def whole_state(seed=5, name=SMALL):
    torch.manual_seed(seed)
    return timm.create_model(name).state_dict()


def loaded(path, name=SMALL):
    torch.manual_seed(11)
    return Encoder(name, str(path)).net.state_dict()


def assert_from(state, found):
    wanted = {name: value for name, value in found.items() if not name.endswith("num_batches_tracked")}
    assert len(wanted) > 50
    for name, value in wanted.items():
        assert torch.equal(value, state[name]), name


def renamed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


FORMS = {
    "data_parallel": lambda state: renamed(state, "module."),
    "compiled": lambda state: renamed(state, "_orig_mod."),
    "compiled_in_parallel": lambda state: renamed(state, "module._orig_mod."),
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state, "loss": 0.5},
    "lightning_model": lambda state: {"state_dict": renamed(state, "model."), "pytorch-lightning_version": "2.5"},
    "lightning_net": lambda state: {"state_dict": renamed(state, "net."), "hyper_parameters": {"lr": 0.1}},
    "encoder": lambda state: {"state_dict": renamed(state, "encoder.") | {"decoder.weight": torch.zeros(3)}},
    "backbone": lambda state: {"model": renamed(state, "module.backbone.") | {"head.weight": torch.zeros(3)}},
    "deep": lambda state: {"checkpoint": {"model": {"student": renamed(state, "model.encoder.net.")}}},
    "optimizer_beside": lambda state: {
        "model": state,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]},
    },
    "half_precision": lambda state: {
        name: value.half().float() if value.is_floating_point() else value for name, value in state.items()
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_found_however_they_are_wrapped(tmp_path, form):
    state = whole_state()
    content = FORMS[form](state)
    torch.save(content, tmp_path / "weights.pth")
    expected = content if form == "half_precision" else state
    assert_from(expected, loaded(tmp_path / "weights.pth"))


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "net.", "backbone.", "encoder."])
def test_prefixes_in_safetensors_too(tmp_path, prefix):
    state = whole_state()
    save_file(renamed(state, prefix), tmp_path / "weights.safetensors")
    assert_from(state, loaded(tmp_path / "weights.safetensors"))


def test_a_compiled_part_within_a_network(tmp_path):
    state = whole_state()
    first = next(iter(state)).split(".")[0]
    content = {name.replace(f"{first}.", f"{first}._orig_mod."): value for name, value in state.items()}
    assert content.keys() != state.keys()
    torch.save(content, tmp_path / "weights.pt")
    assert_from(state, loaded(tmp_path / "weights.pt"))


@pytest.mark.parametrize("name", ["state_dict_ema", "ema", "model_ema", "ema_state_dict"])
def test_the_average_is_taken_where_a_file_has_both(tmp_path, name):
    average, last = whole_state(1), whole_state(2)
    torch.save({"state_dict": last, name: average}, tmp_path / "weights.pth")
    assert_from(average, loaded(tmp_path / "weights.pth"))


def test_an_averaged_model_of_torch(tmp_path):
    torch.manual_seed(5)
    averaged = torch.optim.swa_utils.AveragedModel(timm.create_model(SMALL))
    torch.save(averaged.state_dict(), tmp_path / "weights.pth")
    assert_from(whole_state(5), loaded(tmp_path / "weights.pth"))


def test_two_sets_of_which_nothing_decides_are_refused_with_their_names(tmp_path):
    torch.save({"left": whole_state(1), "right": whole_state(2)}, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match=r"weights.pth holds 2 sets of weights that fit alike, under 'left', 'right'"):
        loaded(tmp_path / "weights.pth")


def test_the_file_s_content_counts_and_not_its_name(tmp_path):
    state = whole_state()
    save_file(state, tmp_path / "weights.pth")
    torch.save(state, tmp_path / "weights.safetensors")
    assert_from(state, loaded(tmp_path / "weights.pth"))
    assert_from(state, loaded(tmp_path / "weights.safetensors"))


def test_what_programs_store_beside_weights_does_no_harm(tmp_path):
    state = whole_state()
    content = {
        "model": state,
        "args": argparse.Namespace(lr=0.1, out=Path("runs")),
        "best": np.float64(0.25),
        "curve": np.arange(3.0),
    }
    torch.save(content, tmp_path / "checkpoint.ckpt")
    assert_from(state, loaded(tmp_path / "checkpoint.ckpt"))


def test_the_old_format_of_torch(tmp_path):
    state = whole_state()
    torch.save({"state_dict": state}, tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    assert_from(state, loaded(tmp_path / "weights.pth"))


def test_a_whole_network_of_ours_gives_its_encoder(tmp_path):
    torch.manual_seed(3)
    network = DualHead(encoder=SMALL, channels=4, max_depth=10.0)
    torch.save({"format": 1, "network": network.state_dict(), "kept": {}, "history": []}, tmp_path / "checkpoint.pt")
    assert_from(network.encoder.net.state_dict(), loaded(tmp_path / "checkpoint.pt"))
    best = {name: value + 1 for name, value in network.state_dict().items()}
    torch.save({"format": 1, "network": network.state_dict(), "kept": best, "history": []}, tmp_path / "checkpoint.pt")
    found = loaded(tmp_path / "checkpoint.pt")
    assert_from({name: value + 1 for name, value in network.encoder.net.state_dict().items()}, found)


def test_names_of_the_authors_that_timm_knows_to_change(tmp_path):
    """The DenseNet files of old torchvisions say `norm.1` where timm says `norm1`."""
    state = whole_state(name="densenet121")
    old = {
        name.replace(".norm1.", ".norm.1.")
        .replace(".norm2.", ".norm.2.")
        .replace(".conv1.", ".conv.1.")
        .replace(".conv2.", ".conv.2."): value
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")  # younger than these files
    }
    assert old.keys() != state.keys()
    torch.save({"state_dict": renamed(old, "module.")}, tmp_path / "weights.pth")
    save_file(state, tmp_path / "weights.safetensors")
    found, expected = (loaded(tmp_path / name, "densenet121") for name in ("weights.pth", "weights.safetensors"))
    for name, value in expected.items():
        assert name.endswith("num_batches_tracked") or torch.equal(found[name], value), name


def refused(path, content, name=SMALL):
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ModelError) as error:
        Encoder(name, str(path))
    text = str(error.value)
    assert text.startswith(f"model.weights: {path} ")
    assert text.isprintable()
    assert "weights_only" not in text
    return text.removeprefix(f"model.weights: {path} ")


NO_WEIGHTS = {
    "page": (b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title>", "is a web page, not weights: the download got"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "is a Git-LFS pointer, which stands in for the file: fetch the file itself with git lfs pull",
    ),
    "empty": (b"", "is empty; fetch the file again"),
    "json": (b'{"error": "Repository not found"}', "is JSON text (perhaps an error message of the download)"),
    "gzip": (b"\x1f\x8b\x08\x00rest", "is packed with gzip; unpack it first"),
    "other": (b"no weights at all", "is not a file of tensors, or damaged"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_what_is_no_file_of_weights_is_called_what_it_is(tmp_path, kind, suffix):
    content, message = NO_WEIGHTS[kind]
    assert refused(tmp_path / f"weights{suffix}", content).startswith(message)


PICKLES = {
    "numpy": ({"conv.weight": np.zeros((3, 4), np.float32)}, "is a pickle of NumPy arrays, not of tensors; convert it"),
    "plain": ({"epoch": 3}, "is a pickle of Python objects, without tensors or NumPy arrays"),
    "torch": ({"conv.weight": torch.zeros(3)}, "is a pickle, not a file of torch.save; convert it"),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", PICKLES)
def test_a_pickle_of_other_objects_is_told_with_its_conversion(tmp_path, kind, protocol):
    """Without a warning of torch's, which the tests take for an error."""
    content, message = PICKLES[kind]
    packed = pickle.dumps(content, protocol=protocol)
    assert refused(tmp_path / "weights.pth", packed).startswith(message)
    assert "is a pickle" not in refused(tmp_path / "cut.pth", packed[:-1])


def test_the_conversion_of_a_pickle_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = {name: one.numpy() for name, one in whole_state().items()}
    text = refused(tmp_path / "FILE", pickle.dumps(arrays))
    exec(f"import pathlib, pickle, torch; {text.partition('made: ')[2]}")
    assert_from(whole_state(), loaded(tmp_path / "weights.pth"))


def test_a_file_that_is_cut_off_says_so(data_root, tmp_path):
    real = (data_root / "weights" / "tf_efficientnet_lite0.safetensors").read_bytes()
    text = refused(tmp_path / "weights.safetensors", real[:100_000], "tf_efficientnet_lite0")
    assert text == f"is cut off: it has 100,000 of {len(real):,} bytes; fetch the file again"
    text = refused(tmp_path / "weights.safetensors", real[:500], "tf_efficientnet_lite0")
    assert text.startswith("is cut off: it has 500 of ")
    torch.save(whole_state(), tmp_path / "whole.pth")
    content = (tmp_path / "whole.pth").read_bytes()
    assert refused(tmp_path / "weights.pth", content[: len(content) // 2]).startswith("is cut off or damaged; fetch")


def test_the_real_file_under_the_prefixes_of_others(data_root, tmp_path):
    real = load_file(data_root / "weights" / "tf_efficientnet_lite0.safetensors")
    torch.save({"state_dict": renamed(real, "model.encoder.")}, tmp_path / "depth.ckpt")
    assert_from(real, loaded(tmp_path / "depth.ckpt", "tf_efficientnet_lite0"))


class Recipe:
    """A class of the training program, whose objects torch.save stores if the whole training state is saved."""


@pytest.mark.parametrize(
    "content", [lambda: {"state_dict": whole_state(), "recipe": Recipe()}, lambda: nn.Linear(2, 2)]
)
def test_python_objects_are_refused_in_our_own_words(tmp_path, content):
    text = refused(tmp_path / "weights.pth", content())
    assert "Recipe" in text or "Linear" in text
    assert text.startswith("holds Python objects beside its tensors (")
    assert text.endswith("save the tensors alone: torch.save(model.state_dict(), 'weights.pth')")


def test_a_pickle_that_would_run_a_command_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'ran'}",))

    assert "holds Python objects beside its tensors (" in refused(tmp_path / "weights.pth", {"x": Evil()})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_with_their_names(tmp_path, value):
    state = whole_state()
    name = next(name for name, one in state.items() if one.ndim == 4)
    state[name] = state[name].clone()
    state[name][0, 0, 0, 0] = value
    text = refused(tmp_path / "weights.pth", state)
    assert text.startswith("has NaN or infinite values in 1 of ")
    assert f" tensors ({name}); take a checkpoint from before" in text


def test_a_damaged_classifier_does_not_matter(tmp_path):
    state = whole_state()
    torch.save(state | {"classifier.weight": torch.full((1000, 64), float("nan"))}, tmp_path / "weights.pth")
    assert_from(state, loaded(tmp_path / "weights.pth"))


def test_another_architecture_says_how_many_tensors_fit_and_which_do_not(tmp_path):
    needed = [name for name in whole_state(name="resnet18") if "num_batches" not in name and not name.startswith("fc.")]
    other = whole_state(name="resnet10t")
    text = refused(tmp_path / "weights.pth", {"state_dict": renamed(other, "module.")}, "resnet18")
    missing = [name for name in needed if name not in other]
    assert text.startswith("does not fit resnet18: ")
    assert f" of {len(needed)} tensors fit; {len(missing)} missing ({missing[0]}, " in text


def test_a_larger_network_of_the_same_family_is_another_architecture(tmp_path):
    """All names of a ResNet-18 are among those of a ResNet-34, in the same shapes."""
    own, content = (whole_state(name=name) for name in ("resnet18", "resnet34"))
    further = [key for key in content if key not in own and "num_batches" not in key]
    text = refused(tmp_path / "weights.pth", {"state_dict": content}, "resnet18")
    assert text.startswith("does not fit resnet18: 100 of 100 tensors fit; 0 missing; ")
    assert f"{len(further)} unexpected ({further[0]}, " in text


def test_more_blocks_of_a_vision_transformer_are_another_architecture(tmp_path):
    state = whole_state(name="test_vit")
    deeper = {name.replace("blocks.0.", "blocks.17."): one for name, one in state.items() if "blocks.0." in name}
    text = refused(tmp_path / "weights.pth", renamed(state | deeper, "encoder."), "test_vit")
    assert f"0 missing; {len(deeper)} unexpected (blocks.17.norm1.weight, " in text


def test_parts_of_a_network_that_are_themselves_called_module(tmp_path):
    """In an iFormer `stages.0.blocks.0.mixer.module.0` is the network's own name."""
    state = whole_state(name="iformer_t")
    assert any(".module." in name for name in state)
    torch.save({"state_dict": renamed(state, "module.")}, tmp_path / "weights.pth")
    found = loaded(tmp_path / "weights.pth", "iformer_t")
    own = {name.replace(".", "_", 1) if name.startswith("stages.") else name: one for name, one in state.items()}
    assert_from(own, found)


def test_bounds_that_do_not_bind_are_no_damage():
    bounds = {
        "low": torch.tensor(float("-inf")),
        "high": torch.tensor([float("inf")]),
        "nan": torch.tensor(float("nan")),
    }
    assert not_finite(bounds | {"weight": torch.tensor([1.0, float("inf")])}) == ["nan", "weight"]
