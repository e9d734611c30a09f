"""PyYAML's errors in plain words. The user's own text is never repeated, since it may hold a password."""

from __future__ import annotations

import re
from typing import Final

QUOTE: Final = "in a value, put the whole value into quotes"

# The beginning of PyYAML's message -> its meaning.
MEANINGS: Final = (
    ("found undefined alias", f"text that begins with * names an anchor, and there is none of that name; {QUOTE}"),
    ("second occurrence", f"two anchors (&) have the same name; {QUOTE}"),
    ("found undefined tag handle", f"text that begins with ! is a tag, and tags are not allowed; {QUOTE}"),
    (r"found character '\t'", "a tab; lines are indented with spaces"),
    ("mapping values are not allowed", "': ' for the second time in a line, or a line that is indented too far; "
     "a section's keys stand below it, and text with ': ' in it stands in quotes"),
    ("mapping keys are not allowed", f"text that begins with '? '; {QUOTE}"),
    ("sequence entries are not allowed", "'- ' where no list begins; write lists as [a, b]"),
    ("could not find expected ':'", "a line that is not 'key: value'; the line before it may lack its end"),
    ("expected ',' or '}'", "a { without its }, or two values without a comma between them; text with { in it, "
     "such as ${NAME}, stands in quotes there"),
    ("expected ',' or ']'", "a [ without its ], or two values without a comma between them"),
    ("expected <block end>", "a line whose indentation does not fit the lines above, or text after a closing quote"),
    ("expected the node content", f"a value is missing, or begins with a sign of YAML's own; {QUOTE}"),
    ("found unexpected end of stream", "a quote, { or [ that is not closed"),
    ("found unexpected document separator", "'---' within a value"),
    ("but found another document", "'---': a second YAML document begins; a study file has one"),
    ("expected '<document start>'", "text after '...', which ends the document, or a line that begins with %"),
    ("found unknown escape character", r"a \ in double quotes, which begins an escape there; use single quotes"),
    ("special characters are not allowed", "a control character, which YAML does not allow"),
)  # fmt: skip


def explain(problem: str) -> str:
    """Explain an error of PyYAML. Its quotations of the file are left out, except single characters."""
    text = " ".join(problem.split())
    for beginning, meaning in MEANINGS:
        if text.startswith(beginning):
            return meaning
    sign = re.match(r"found character '(.)' that cannot start any token", text)
    if sign is not None:
        return f"text that begins with {sign[1]}; {QUOTE}"
    return re.sub(r"'[^']{2,}'|\"[^\"]{2,}\"", "...", text)
