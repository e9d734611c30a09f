"""Registry of the measurements of every training step, each a module of this folder."""

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

OTHERS: Final = ("measure", "registry")  # modules of this folder that are not measurements


@cache
def modules() -> tuple[ModuleType, ...]:
    names = sorted(info.name for info in pkgutil.iter_modules(folder.__path__) if info.name not in OTHERS)
    return tuple(importlib.import_module(f"{folder.__name__}.{name}") for name in names)


def groups() -> tuple[Group, ...]:
    """Groups of all measurements of an epoch's steps, and of the probes."""
    from weightsearch.training import probe

    every = {group.name: group for module in (*modules(), probe) for group in module.GROUPS}
    return tuple(every.values())


def measures(criterion: Criterion, device: torch.device) -> dict[str, Measure]:
    """Create the measurements of an epoch, by module name. A module's class has the module's name in CamelCase."""
    return {
        (name := module.__name__.rpartition(".")[2]): getattr(module, name.title().replace("_", ""))(criterion, device)
        for module in modules()
    }
