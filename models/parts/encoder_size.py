"""Image sizes that a timm encoder takes, and the options that allow them.

Sizes are tried on torch's meta device, which tracks shapes only: a try takes a fraction of a second and draws no random
number.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import timm
import torch
from torch import Tensor

Size = tuple[int, int]  # height, width in pixels

MULTIPLES: Final = (
    1,
    2,
    4,
    7,
    8,
)  # tried multiples of the coarsest stride: windows of 7 or 8 positions, blocks of 2 or 4
UNDECIDED: Final = "meta tensors"  # in torch's errors about operations that the meta device does not support


@lru_cache(maxsize=64)
def size_options(name: str, size: Size) -> Mapping[str, Any] | None:
    """The options of `timm.create_model` with which an encoder takes images of a size; None if there are none.

    Most encoders take any size. If timm fixes an encoder's input size, options that allow every size are tried first,
    so that crops and whole images can be mixed; with `img_size` the encoder takes only that size.
    """
    for options in _alternatives(name, size):
        if takes(name, options, size) is not False:
            return options
    return None


def takes(name: str, options: Mapping[str, Any], size: Size) -> bool | None:
    """True if an encoder with these options takes images of a size; None if the meta device cannot decide it."""
    try:
        net = _shapes_only(name, tuple(options.items()))
        with torch.no_grad(), torch.device("meta"):
            features = net(torch.zeros(1, 3, *size))
    except Exception as error:  # whatever the encoder raises about a size or an option
        return None if UNDECIDED in str(error) else False
    return misfit(features, net.feature_info.channels(), is_nhwc(net)) is None


def other_sizes(name: str, size: Size) -> str:
    """Text about the sizes near a given one that an encoder takes, to end an error message."""
    reductions = _reductions(name)
    steps = sorted({*reductions, *(reductions[-1] * factor for factor in MULTIPLES)} if reductions else ())
    for step in steps:
        up, down = _rounded(size, step, up=True), _rounded(size, step, up=False)
        further = (up[0] + step, up[1] + 2 * step)
        if all(size_options(name, other) is not None for other in (up, down, further)):
            near = [str(list(other)) for other in dict.fromkeys((down, up))]
            fit = f"{near[0]} fits" if len(near) == 1 else f"{near[0]} and {near[1]} fit"
            return f"height and width must be multiples of {step}; {fit}"
    native = native_size(name)
    if native is not None and size_options(name, native) is not None:
        return f"it takes {list(native)} alone"
    return "choose a larger size, or another encoder"


def misfit(features: list[Tensor], channels: list[int], nhwc: bool) -> str | None:
    """A message if an encoder's features do not have the channels that it declares; else None."""
    widths = [feature.shape[-1 if nhwc else 1] if feature.ndim == 4 else None for feature in features]
    if widths == channels and all(feature.numel() for feature in features):
        return None
    return f"its features are {[list(feature.shape) for feature in features]}, with {channels} channels expected"


def is_nhwc(net: Any) -> bool:
    """True if a timm feature extractor gives [B, H, W, C]. `output_fmt` is an enum whose `str` is not its value."""
    layout = getattr(net, "output_fmt", "NCHW")
    return getattr(layout, "value", layout) == "NHWC"


def create(name: str, **options: Any) -> Any:
    """A timm model's feature extractor. Raises timm's errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about timm's own code
        return timm.create_model(name, features_only=True, **options)


def _alternatives(name: str, size: Size) -> Iterator[dict[str, Any]]:
    config = timm.get_pretrained_cfg(name)
    if not getattr(config, "fixed_input_size", False):
        yield {}
    else:
        yield {"dynamic_img_size": True}
        yield {"strict_img_size": False}
    yield {"img_size": size}
    yield {}


@lru_cache(maxsize=16)
def _shapes_only(name: str, options: tuple[tuple[str, Any], ...]) -> Any:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return create(name, **dict(options)).eval()


def _reductions(name: str) -> list[int]:
    try:
        reductions: list[int] = _shapes_only(name, ()).feature_info.reduction()
    except Exception:  # an encoder that cannot be made at all
        return []
    return reductions


def native_size(name: str) -> Size | None:
    """Height, width of the images that a model was pretrained on; None if unknown."""
    size = getattr(timm.get_pretrained_cfg(name), "input_size", None)
    return None if size is None else (size[1], size[2])


def _rounded(size: Size, step: int, *, up: bool) -> Size:
    height, width = (max(1, -(-side // step) if up else side // step) * step for side in size)
    return height, width
