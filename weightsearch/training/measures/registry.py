"""The measurements of every step, each a module of this folder."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Final

import torch

import weightsearch.training.measures as folder
from weightsearch.losses.criterion import Criterion
from weightsearch.records import Group
from weightsearch.training.measures.measure import Measure

OTHERS: Final = ("measure", "registry")  # modules of this folder that measure nothing


@cache
def modules() -> tuple[ModuleType, ...]:
    names = sorted(one.name for one in pkgutil.iter_modules(folder.__path__) if one.name not in OTHERS)
    return tuple(importlib.import_module(f"{folder.__name__}.{name}") for name in names)


def groups() -> tuple[Group, ...]:
    """The groups of all measurements of an epoch's steps, and those of the probes."""
    from weightsearch.training import probe

    every = {group.name: group for module in (*modules(), probe) for group in module.GROUPS}
    return tuple(every.values())


def measures(criterion: Criterion, device: torch.device) -> dict[str, Measure]:
    """A new measurement of each kind for one epoch, by the module's name. A module's class has the module's name in
    CamelCase."""
    return {
        (name := module.__name__.rpartition(".")[2]): getattr(module, name.title().replace("_", ""))(criterion, device)
        for module in modules()
    }
