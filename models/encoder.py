"""An image encoder from timm, as a pyramid of features."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import timm
import torch
from pydantic import AfterValidator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from weightsearch.errors import ModelError, first_line

NAMED = 4
COUNTER = "num_batches_tracked"


def _known_name(name: str) -> str:
    base = name.split(".")[0]
    if not timm.is_model(base):
        close = difflib.get_close_matches(base, timm.list_models(), n=3)
        raise ValueError(f"timm has no model {name!r}" + (f"; near: {', '.join(close)}" if close else ""))
    return name


def _known_weights(weights: str) -> str:
    if weights in ("none", "pretrained"):
        return weights
    path = Path(weights)
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise ValueError(f"expected none, pretrained, or a .safetensors, .pth or .pt file, found {weights!r}")
    if not path.is_file():
        raise ValueError(f"no such file: {weights}")
    return weights


EncoderName = Annotated[str, AfterValidator(_known_name)]
EncoderWeights = Annotated[str, AfterValidator(_known_weights)]


class Encoder(nn.Module):
    """A timm model's features, from the finest to the coarsest.

    name: any timm model with `features_only`. weights: `none` (random), `pretrained` (timm's hub) or a state-dict file.
    forward: colour in [0, 1], [B, 3, H, W] -> a list of [B, C_i, H / s_i, W / s_i]; colours are normalised as the model
    was trained.
    channels, reductions: C_i and s_i. Raises ModelError where the model has no features or the weights do not fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str = "none") -> None:
        super().__init__()
        named = weights in ("none", "pretrained")
        self.net = _create(name, pretrained=weights == "pretrained") if named else _from_file(name, Path(weights))
        self.channels_last = str(getattr(self.net, "output_fmt", "NCHW")) == "NHWC"
        config = self.net.pretrained_cfg
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config["std"]).view(1, 3, 1, 1), persistent=False)
        self.channels: list[int] = self.net.feature_info.channels()
        self.reductions: list[int] = self.net.feature_info.reduction()

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.net((image - self.mean) / self.std)
        return [feature.permute(0, 3, 1, 2) for feature in features] if self.channels_last else features


def _create(name: str, *, pretrained: bool, **options: Any) -> Any:
    try:
        return timm.create_model(name, features_only=True, pretrained=pretrained, **options)
    except Exception as error:  # the hub, the network and the model itself each raise their own
        what = "its pretrained weights could not be had" if pretrained else "it cannot give features"
        raise ModelError(f"model.encoder: {name}: {what}: {first_line(error)}") from error


def _from_file(name: str, path: Path) -> Any:
    """The features with the weights of a file, which may be of the whole model or of the features alone."""
    state = _read(path)
    net = _create(name, pretrained=False)
    own = net.state_dict()
    if 2 * sum(key in state for key in own) > len(own):
        _check(name, path, state, own, [])
        net.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)
        return net
    whole = timm.create_model(name)
    classifier = whole.pretrained_cfg.get("classifier") or ()
    _check(name, path, state, whole.state_dict(), [classifier] if isinstance(classifier, str) else list(classifier))
    # Some features have other names than the model they are taken from: timm knows how they go together.
    net = _create(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state})
    net.pretrained_cfg = {key: value for key, value in net.pretrained_cfg.items() if key != "state_dict"}
    return net


def _check(
    name: str, path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], classifier: list[str]
) -> None:
    """Raise ModelError if a file lacks what is needed (all but the classifier and the counters) or has other shapes."""
    heads = tuple(f"{head}." for head in classifier)
    needed = [key for key in expected if not key.endswith(COUNTER) and not key.startswith(heads)]
    missing = [key for key in needed if key not in state]
    wrong = [
        f"{key} {list(state[key].shape)} instead of {list(expected[key].shape)}"
        for key in needed
        if key in state and state[key].shape != expected[key].shape
    ]
    if missing or wrong:
        # What only the classifier needs lies outside a feature extractor.
        full = set(timm.create_model(name).state_dict())
        unexpected = [key for key in state if key not in expected and key not in full]
        raise ModelError(
            f"model.weights: {path} does not fit {name}: {_few('missing', missing)}; "
            f"{_few('unexpected', unexpected)}; {_few('of another shape', wrong)}"
        )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(f"model.weights: cannot read {path}: {first_line(error)}") from None
    except Exception as error:  # the safe unpickler's own errors
        raise ModelError(f"model.weights: {path} is not a plain state dict: {first_line(error)}") from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"model.weights: {path} is not a plain state dict")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def _few(what: str, names: list[str]) -> str:
    if not names:
        return f"0 {what}"
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} {what} ({', '.join(names[:NAMED])}{more})"
