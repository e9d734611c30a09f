"""No pruning."""

from __future__ import annotations

from optuna.pruners import BasePruner, NopPruner


def none() -> BasePruner:
    """No pruning: every trial trains to the end."""
    return NopPruner()


none.several_objectives = True  # type: ignore[attr-defined]
