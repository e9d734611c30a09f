"""Descriptions of options, taken from docstrings: `size: height, width in pixels. min_depth, max_depth: metres.`"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any


def first_sentence(text: str) -> str:
    """The first sentence of a text of any number of lines, without its full stop."""
    return " ".join(text.split()).partition(". ")[0].rstrip(".")


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a docstring, each on one line."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", inspect.cleandoc(text))]


def descriptions(target: Callable[..., Any], names: Iterable[str]) -> dict[str, str]:
    """Option -> its description in the docstring of a class or function, up to the next option or the paragraph's end;
    options without one are left out."""
    ordered = sorted(names, key=len, reverse=True)
    if not ordered:
        return {}
    any_name = "|".join(map(re.escape, ordered))
    texts: dict[str, str] = {}
    for text in paragraphs(target.__doc__ or ""):
        marks = list(re.finditer(rf"(?:(?<=\. )|(?<=; )|^)((?:{any_name})(?:, (?:{any_name}))*): ", text))
        for mark, following in zip(marks, [*marks[1:], None], strict=False):
            end = len(text) if following is None else following.start()
            sentence = re.split(r"\s(?=Sources?: |Raises |forward: )", text[mark.end() : end])[0].strip().rstrip(";")
            for name in mark[1].split(", "):
                texts.setdefault(name, sentence[:1].upper() + sentence[1:])
    return texts
