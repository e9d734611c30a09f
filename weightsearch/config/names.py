"""Names and addresses in a study file: the patterns of their allowed forms, and their descriptions in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

STUDY_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
TERM_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_-]*$"
FOLDER: Final = r"^[^\x00]+$"
# Pattern -> its description in an error, the allowed characters of a name, and the allowed first characters.
RULES: Final[Mapping[str, tuple[str, str, str]]] = MappingProxyType(
    {
        STUDY_NAME: ("a name of A-Z, a-z, 0-9, '.', '_' and '-', at most 100, the first a letter or digit",
                     "A-Za-z0-9._-", "A-Za-z0-9"),
        TERM_NAME: ("a name of A-Z, a-z, 0-9, '_' and '-', the first a letter or '_'", "A-Za-z0-9_-", "A-Za-z_"),
        FOLDER: ("a folder", "", ""),
    }
)  # fmt: skip


def cluster_address(text: str) -> str:
    """The address of a running cluster, in a form that Ray and the driver accept. Raises ValueError."""
    if text.startswith("ray://"):
        raise ValueError(
            f"found {text!r}, but with ray:// Ray would move the driver to another host; run this command on a node of "
            "the cluster, with HOST:PORT as in ray start --address=HOST:PORT"
        )
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})", text)
    if text != "auto" and (match is None or not 0 < int(match[1]) < 65536):
        raise ValueError(f"expected auto or HOST:PORT (such as 10.0.0.1:6379), found {text!r}")
    return text
