"""weightsearch finds the loss weights of depth networks, and shows what each term does.

The public Python API is __all__; everything else is private and may change. `losses` and `metrics` are modules of
functions on plain tensors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightsearch import losses, metrics
    from weightsearch.api import Evaluation, Study, Trial, evaluate, load_study, open_study, run, train
    from weightsearch.errors import ConfigError, StoreError, TrialFailure, WeightsearchError

__all__ = [
    "ConfigError",
    "Evaluation",
    "StoreError",
    "Study",
    "Trial",
    "TrialFailure",
    "WeightsearchError",
    "evaluate",
    "load_study",
    "losses",
    "metrics",
    "open_study",
    "run",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a part of the API when it is first used: `import weightsearch` alone loads neither torch nor Ray."""
    if name not in __all__:
        raise AttributeError(f"module 'weightsearch' has no attribute {name!r}")
    if name in ("losses", "metrics"):
        return importlib.import_module(f"weightsearch.{name}")
    module = "errors" if name.endswith(("Error", "Failure")) else "api"
    return getattr(importlib.import_module(f"weightsearch.{module}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
