"""Weights from another program's file: match the file's tensors to a network's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from weightsearch.errors import ModelError, first_line
from weightsearch.tensor_files import UnreadableFile, few, listed, named_tensors, not_finite, read_tensors

COUNTER: Final = "num_batches_tracked"
WRAPPERS: Final = frozenset({"module", "_orig_mod"})  # parts of names from DataParallel and torch.compile
# If several sets of weights in a file fit equally well, the first of these names is used: averages over training.
PREFERRED: Final = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema", "kept", "teacher")
CONTAINERS: Final = frozenset(
    {"state_dict", "model", "model_state_dict", "network", "net", "encoder", "backbone", *PREFERRED}
)


@dataclass(frozen=True)
class Match:
    """Tensors of a file by a network's names. prefix: the prefix of these names in the file."""

    tensors: Mapping[str, Tensor]
    prefix: str


def read_weights(path: Path, key: str) -> dict[str, Tensor]:
    """Read every named tensor of a file. key: the option that names the file. Raises ModelError."""
    try:
        tensors = named_tensors(read_tensors(path))
    except UnreadableFile as error:
        raise ModelError(f"{key}: {path} {error}") from None
    except OSError as error:
        raise ModelError(f"{key}: cannot read {path}: {error.strerror or first_line(error)}") from None
    if not tensors:
        raise ModelError(f"{key}: {path} holds no named tensors; save model.state_dict()")
    return tensors


def matching(held: Mapping[str, Tensor], names: Collection[str], where: str) -> Match:
    """The tensors that fit a network's names best, under any prefix, such as `state_dict.model.encoder.`. Of several
    sets that fit equally well, an average over the training (EMA) is used. where: the beginning of a message. Raises
    ModelError if several sets fit equally well and none is an average."""
    wanted = {_unwrapped(name): name for name in names}
    plain = {_unwrapped(name): name for name in held}
    counts = Counter(prefix for name in plain for prefix, rest in _splits(name) if rest in wanted)
    if not counts:
        return Match({}, "")
    most = max(counts.values())
    best = [prefix for prefix, count in counts.items() if count == most]
    whole = len(best) > 1 and 2 * most > len(wanted)  # otherwise they are parts of another network
    prefix = _preferred(best, where) if whole else min(best, key=len)
    return Match({wanted[rest]: held[plain[prefix + rest]] for rest in wanted if prefix + rest in plain}, prefix)


def check_fit(
    match: Match,
    held: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    needed: Collection[str],
    allowed: Collection[str],
    where: str,
) -> None:
    """Raise ModelError unless a file contains all needed tensors, in the right shapes, and no further layers of the
    same stages: the names of a smaller network are often a subset of a larger network's.

    match: the file's tensors under the network's names. held: all tensors of the file. expected: the network's tensors.
    needed: names that the file must contain. allowed: further names that the file may contain. where: the beginning of
    the message, such as `model.weights: FILE does not fit resnet18`.
    """
    missing = [name for name in needed if name not in match.tensors]
    wrong = [
        f"{name} {list(match.tensors[name].shape)} instead of {list(expected[name].shape)}"
        for name in needed
        if name in match.tensors and match.tensors[name].shape != expected[name].shape
    ]
    own = [_unwrapped(name) for name in held]
    own = [name.removeprefix(match.prefix) for name in own if name.startswith(match.prefix)]
    own_or_allowed = {_unwrapped(name) for name in (*expected, *allowed)}
    unexpected = [name for name in own if name not in own_or_allowed and not counter(name)]
    further = _further_layers(unexpected, own_or_allowed)
    if missing or wrong or further:
        fitting = len(needed) - len(missing) - len(wrong)
        surplus = few("unexpected", further or unexpected)
        raise ModelError(
            f"{where}: {fitting} of {len(needed)} tensors fit; {few('missing', missing)}; {surplus}; "
            f"{few('of another shape', wrong)}"
        )


def _further_layers(unexpected: list[str], expected: Collection[str]) -> list[str]:
    """Names of tensors whose module is missing in the network, in stages that the network has."""
    stages = {name.split(".")[0] for name in expected if name.count(".") > 1}
    modules = {".".join(name.split(".")[:depth]) for name in expected for depth in range(1, name.count(".") + 1)}
    return [name for name in unexpected if name.split(".")[0] in stages and name.rpartition(".")[0] not in modules]


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raise ModelError for weights that are NaN or infinite. what: the file, as subject of the message."""
    if damaged := not_finite(tensors):
        raise ModelError(
            f"{what} has NaN or infinite values in {len(damaged)} of {len(tensors)} tensors ({listed(damaged)}); "
            "take a checkpoint from before that training diverged"
        )


def grouped(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The largest set of a file's tensors, without counters; names without wrappers and common prefixes."""
    tensors = {_unwrapped(name): tensor for name, tensor in held.items() if not counter(name)}
    while True:
        first, count = Counter(name.split(".")[0] for name in tensors).most_common(1)[0]
        if first not in CONTAINERS or 2 * count <= len(tensors):
            return tensors
        tensors = {
            name.removeprefix(f"{first}."): tensor for name, tensor in tensors.items() if name.startswith(f"{first}.")
        }


def counter(name: str) -> bool:
    """True for the name of a tensor that counts batches; old files lack it."""
    return name.endswith(COUNTER)


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _splits(name: str) -> list[tuple[str, str]]:
    """A dotted name cut before each of its parts: ('', 'a.b'), ('a.', 'b')."""
    parts = name.split(".")
    return [("".join(f"{part}." for part in parts[:cut]), ".".join(parts[cut:])) for cut in range(len(parts))]


def _preferred(prefixes: list[str], where: str) -> str:
    for word in PREFERRED:
        chosen = [prefix for prefix in prefixes if word in prefix.split(".")]
        if len(chosen) == 1:
            return chosen[0]
    names = ", ".join(repr(prefix.rstrip(".")) for prefix in sorted(prefixes))
    raise ModelError(
        f"{where} holds {len(prefixes)} sets of weights that fit alike, under {names}; save one of them alone"
    )
