"""Names and addresses of a study file: what they may be, as a pattern and in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

STUDY_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
TERM_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_-]*$"
FOLDER: Final = r"^[^\x00]+$"
# Pattern -> what an error says of it, and the signs that a name may have and begin with.
RULES: Final[Mapping[str, tuple[str, str, str]]] = MappingProxyType(
    {
        STUDY_NAME: ("a name of A-Z, a-z, 0-9, '.', '_' and '-', at most 100, the first a letter or digit",
                     "A-Za-z0-9._-", "A-Za-z0-9"),
        TERM_NAME: ("a name of A-Z, a-z, 0-9, '_' and '-', the first a letter or '_'", "A-Za-z0-9_-", "A-Za-z_"),
        FOLDER: ("a folder", "", ""),
    }
)  # fmt: skip


def cluster_address(text: str) -> str:
    """A cluster's address as Ray takes it. Raises ValueError."""
    found = re.fullmatch(r"(?:ray://)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})", text)
    if text != "auto" and (found is None or not 0 < int(found[1]) < 65536):
        raise ValueError(f"expected auto, HOST:PORT (such as 10.0.0.1:6379) or ray://HOST:PORT, found {text!r}")
    return text
