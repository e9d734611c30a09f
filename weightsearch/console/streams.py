"""The output streams, and the format of changes and durations."""

from __future__ import annotations

import sys

from rich.console import Console

from weightsearch.errors import difference

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def change(mine: float, other: float) -> str:
    """The relative difference of `mine` from `other`, in words; empty if `other` is 0."""
    return difference((mine - other) / abs(other)) if other else ""


def duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def warn(text: str) -> None:
    """Print a warning to standard error."""
    err.print(f"warning: {text}", style="bold", markup=False)
