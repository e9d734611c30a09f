"""CSV tables without text that a spreadsheet would run as a formula."""

from __future__ import annotations

import re
from typing import Any, Final

import pandas as pd

RUNS: Final = ("=", "+", "-", "@", "\t", "\r")  # first letters of formulas and commands
NUMBER: Final = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s?%?|[-+]?inf")


def to_csv(table: pd.DataFrame) -> str:
    """Format a table as CSV, without its index. Text that a spreadsheet would run as a formula gets a leading
    apostrophe; numbers, also negative ones, are unchanged."""
    safe = table.rename(columns=_safe)
    for position in range(safe.shape[1]):
        column = safe.iloc[:, position]
        if not pd.api.types.is_numeric_dtype(column):
            safe.isetitem(position, [_safe(value) for value in column])
    return safe.to_csv(index=False)


def _safe(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # pandas does not quote a \r, which would begin a new row
    return f"'{text}" if value.startswith(RUNS) and not NUMBER.fullmatch(value.strip()) else text
