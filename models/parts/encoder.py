"""An image encoder from timm, as a pyramid of features."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import timm
import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from weightsearch.errors import ModelError, first_line
from weightsearch.models.parts.encoder_size import (
    Size,
    create,
    is_nhwc,
    misfit,
    native_size,
    other_sizes,
    size_options,
    takes,
)
from weightsearch.models.parts.pretrained import quiet, source_of
from weightsearch.models.parts.weights import (
    Match,
    check_finite,
    check_fit,
    counter,
    grouped,
    matching,
    read_weights,
)

SUFFIXES: Final = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar", ".th")
KEY: Final = "model.weights"


def _checked_name(name: str) -> str:
    base = name.split(".")[0]
    if not timm.is_model(base):
        close = difflib.get_close_matches(base, timm.list_models(), n=3)
        raise ValueError(f"timm has no model {name!r}" + (f"; near: {', '.join(close)}" if close else ""))
    return name


def _checked_weights(weights: str) -> str:
    if weights in ("none", "pretrained"):
        return weights
    path = Path(weights)
    if path.suffix not in SUFFIXES:
        kinds = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise ValueError(f"expected none, pretrained, or a {kinds} file, found {weights!r}")
    if not path.is_file():
        raise ValueError(f"no such file: {weights}")
    return weights


EncoderName = Annotated[str, AfterValidator(_checked_name)]
EncoderWeights = Annotated[str, AfterValidator(_checked_weights)]


class Encoder(nn.Module):
    """A timm model's features, from the finest to the coarsest.

    name: any timm model with `features_only`. weights: `none` (random), `pretrained` (timm's hub) or a file: see
    weights.py. size: height, width of the images in pixels; encoders with a fixed input size are built for it.
    forward: RGB in [0, 1], [B, 3, H, W] -> a list of [B, C_i, about H / s_i, about W / s_i]; images are normalised as
    in the model's training.
    channels, reductions: C_i and s_i. Raises ModelError if the model has no features, the weights do not fit, or the
    model does not take images of this size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: str = "none", size: Size | None = None) -> None:
        super().__init__()
        self.name = name
        self.size = size
        self.options = _options(name, size)
        if weights in ("none", "pretrained"):
            self.net = _create(name, pretrained=weights == "pretrained", **self.options)
        else:
            self.net = _from_file(name, Path(weights), self.options)
        self.nhwc = is_nhwc(self.net)
        config = self.net.pretrained_cfg
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config["std"]).view(1, 3, 1, 1), persistent=False)
        self.channels: list[int] = self.net.feature_info.channels()
        self.reductions: list[int] = self.net.feature_info.reduction()

    @property
    def flat(self) -> bool:
        """True if all features have the same stride, as in a plain vision transformer."""
        return len(self.reductions) > 1 and len(set(self.reductions)) == 1

    def forward(self, image: Tensor) -> list[Tensor]:
        try:
            features: list[Tensor] = list(self.net((image - self.mean) / self.std))
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            size = (image.shape[-2], image.shape[-1])
            if isinstance(error, torch.OutOfMemoryError) or takes(self.name, self.options, size) is not False:
                raise
            raise ModelError(self._refusal(size)) from error
        if misfit(features, self.channels, self.nhwc) is not None:
            raise ModelError(self._refusal((image.shape[-2], image.shape[-1])))
        return [feature.permute(0, 3, 1, 2) for feature in features] if self.nhwc else features

    def _refusal(self, size: Size) -> str:
        option = "augmentation.crop" if self.size not in (None, size) else "data.size"
        if option == "augmentation.crop" and "img_size" in self.options:
            rest = f"it was made for data.size {list(self.size or ())} and cannot be trained on crops of another size"
        else:
            rest = other_sizes(self.name, size)
        return f"model.encoder: {self.name} does not take images of {list(size)} pixels ({option}); {rest}"


def _options(name: str, size: Size | None) -> Mapping[str, Any]:
    """Options of `timm.create_model` with which an encoder takes images of a size, or of any size if timm allows it."""
    wanted = size or native_size(name)
    options = None if wanted is None else size_options(name, wanted)
    if options is None or (size is None and "img_size" in options):
        return {}
    return options


def _create(name: str, *, given: str = "pretrained", **options: Any) -> Any:
    """Create an encoder. given: the value of model.weights. Raises ModelError."""
    fetched = bool(options.get("pretrained")) and "pretrained_cfg_overlay" not in options
    if fetched:
        options |= source_of(name, KEY)
    try:
        with quiet():
            return create(name, **options)
    except Exception as error:  # the hub, the connection and the model raise errors of many types
        if not options.get("pretrained"):
            raise ModelError(f"model.encoder: {name}: it cannot give features: {first_line(error)}") from error
        if "img_size" in options and "size mismatch" in str(error):
            raise ModelError(
                f"{KEY}: {given} fits {name} only at data.size {list(native_size(name) or ())}, not at "
                f"{list(options['img_size'])}: parts of this encoder depend on the image size"
            ) from None
        raise ModelError(
            f"{KEY}: the pretrained weights of {name} could not be fetched: {first_line(error)}"
        ) from error


def _from_file(name: str, path: Path, options: Mapping[str, Any]) -> Any:
    """An encoder with the weights of a file. The file may contain the whole model, only the features, or a network that
    contains either."""
    held = read_weights(path, KEY)
    where = f"{KEY}: {path} does not fit {name}"
    net = _create(name, pretrained=False, **options)
    own = net.state_dict()
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # only for its names and shapes
        whole = timm.create_model(name)
    match = matching(held, own, f"{KEY}: {path}")
    if all(key in match.tensors and match.tensors[key].shape == own[key].shape for key in own if not counter(key)):
        check_fit(match, held, own, [key for key in own if not counter(key)], whole.state_dict(), where)
        check_finite(match.tensors, f"{KEY}: {path}")
        net.load_state_dict(match.tensors, strict=False)
        return net
    state = _of_whole(whole, held, match, own, where)
    check_finite(state, f"{KEY}: {path}")
    # Features may have other names than in the whole model; timm converts them.
    net = _create(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, given=str(path), **options)
    net.pretrained_cfg = {key: value for key, value in net.pretrained_cfg.items() if key != "state_dict"}
    return net


def _of_whole(
    whole: nn.Module, held: Mapping[str, Tensor], features: Match, own: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """A file's tensors under the whole model's names. Raises ModelError if they do not fit; it reports the missing
    tensors of the features or of the whole model, whichever fits better."""
    expected = whole.state_dict()
    config: Any = whole.pretrained_cfg
    classifier = config.get("classifier") or ()
    heads = tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))
    needed = [key for key in expected if not counter(key) and not key.startswith(heads)]
    match = matching(held, expected, where.partition(" does not fit")[0])
    try:
        check_fit(match, held, expected, needed, (), where)
    except ModelError:
        if (converted := _under_other_names(config["architecture"], held)) is not None:
            return converted
        if len(features.tensors) * len(expected) > len(match.tensors) * len(own):
            check_fit(features, held, own, [key for key in own if not counter(key)], expected, where)
        raise
    return dict(match.tensors)


def _under_other_names(name: str, held: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors of a whole model that its authors saved under other names, if timm can convert these names; else
    None."""
    state = grouped(held)
    try:
        timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": dict(state)})
    except Exception:  # each family's converter fails in its own way
        return None
    return state
