"""The differences of two configurations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from weightsearch.config.ranges import same, text_of

ABSENT: Final = object()


def differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences of two flat configurations, in the order of their paths: `path: stored -> now`."""
    return [
        f"{path}: {_text(stored, path)} -> {_text(now, path)}"
        for path in sorted(stored.keys() | now.keys())
        if not same(stored.get(path, ABSENT), now.get(path, ABSENT))
    ]


def _text(tree: Mapping[str, Any], path: str) -> str:
    return text_of(tree[path]) if path in tree else "nothing"
