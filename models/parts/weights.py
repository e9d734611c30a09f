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
WRAPPERS: Final = frozenset({"module", "_orig_mod"})  # put between names by DataParallel and torch.compile
# If several sets of weights in a file fit equally well, the first of these names is taken: averages over training.
PREFERRED: Final = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema", "kept", "teacher")
CONTAINERS: Final = frozenset(
    {"state_dict", "model", "model_state_dict", "network", "net", "encoder", "backbone", *PREFERRED}
)


@dataclass(frozen=True)
class Found:
    """Tensors of a file by the names that a network has for them. prefix: what stood before these names."""

    tensors: Mapping[str, Tensor]
    prefix: str


def read_weights(path: Path, key: str) -> dict[str, Tensor]:
    """Every named tensor of a file. key: the option that names the file. Raises ModelError."""
    try:
        found = named_tensors(read_tensors(path))
    except UnreadableFile as error:
        raise ModelError(f"{key}: {path} {error}") from None
    except OSError as error:
        raise ModelError(f"{key}: cannot read {path}: {error.strerror or first_line(error)}") from None
    if not found:
        raise ModelError(f"{key}: {path} holds no named tensors; save model.state_dict()")
    return found


def matching(held: Mapping[str, Tensor], names: Collection[str], where: str) -> Found:
    """The tensors that fit best to a network's names, under whatever prefix they stand: `state_dict.model.encoder.`.
    Of several sets that fit alike, an average over the training (EMA) comes first. where: what a message begins with.
    Raises ModelError if several sets fit equally well and none is an average."""
    wanted = {_unwrapped(name): name for name in names}
    plain = {_unwrapped(name): name for name in held}
    counts = Counter(prefix for name in plain for prefix, rest in _splits(name) if rest in wanted)
    if not counts:
        return Found({}, "")
    most = max(counts.values())
    best = [prefix for prefix, count in counts.items() if count == most]
    whole = len(best) > 1 and 2 * most > len(wanted)  # otherwise they are parts of another network
    prefix = _preferred(best, where) if whole else min(best, key=len)
    return Found({wanted[rest]: held[plain[prefix + rest]] for rest in wanted if prefix + rest in plain}, prefix)


def check_fit(
    found: Found,
    held: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    needed: Collection[str],
    known: Collection[str],
    where: str,
) -> None:
    """Raise ModelError unless a file holds all that is needed, in the right shapes, and no further layers of the same
    stages: a smaller network's names are often among those of a larger one.

    expected: the network's tensors. needed: the names of those that the file must have. known: further names that are
    no surprise in the file. where: what the message begins with, such as `model.weights: FILE does not fit resnet18`.
    """
    missing = [name for name in needed if name not in found.tensors]
    wrong = [
        f"{name} {list(found.tensors[name].shape)} instead of {list(expected[name].shape)}"
        for name in needed
        if name in found.tensors and found.tensors[name].shape != expected[name].shape
    ]
    own = [_unwrapped(name) for name in held]
    own = [name.removeprefix(found.prefix) for name in own if name.startswith(found.prefix)]
    own_or_known = {_unwrapped(name) for name in (*expected, *known)}
    unexpected = [name for name in own if name not in own_or_known and not counter(name)]
    further = _further_layers(unexpected, own_or_known)
    if missing or wrong or further:
        fitting = len(needed) - len(missing) - len(wrong)
        surplus = few("unexpected", further or unexpected)
        raise ModelError(
            f"{where}: {fitting} of {len(needed)} tensors fit; {few('missing', missing)}; {surplus}; "
            f"{few('of another shape', wrong)}"
        )


def _further_layers(unexpected: list[str], expected: Collection[str]) -> list[str]:
    """Tensors of modules that a network lacks within a stage that it has."""
    stages = {name.split(".")[0] for name in expected if name.count(".") > 1}
    modules = {".".join(name.split(".")[:depth]) for name in expected for depth in range(1, name.count(".") + 1)}
    return [name for name in unexpected if name.split(".")[0] in stages and name.rpartition(".")[0] not in modules]


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Raise ModelError for weights that are NaN or infinite. what: the file, as the message's subject."""
    if damaged := not_finite(tensors):
        raise ModelError(
            f"{what} has NaN or infinite values in {len(damaged)} of {len(tensors)} tensors ({listed(damaged)}); "
            "take a checkpoint from before that training diverged"
        )


def grouped(held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The largest set of a file's tensors, without counters; names without wrappers and common prefixes."""
    found = {_unwrapped(name): one for name, one in held.items() if not counter(name)}
    while True:
        first, count = Counter(name.split(".")[0] for name in found).most_common(1)[0]
        if first not in CONTAINERS or 2 * count <= len(found):
            return found
        found = {name.removeprefix(f"{first}."): one for name, one in found.items() if name.startswith(f"{first}.")}


def counter(name: str) -> bool:
    """True if a tensor only counts batches: old files lack it."""
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
