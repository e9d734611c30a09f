"""Every message of PyYAML that is explained, by a file that PyYAML itself refuses with it."""

from __future__ import annotations

import pytest
import yaml

from weightsearch.config.yaml_faults import MEANINGS, explain

# The beginning of PyYAML's message -> a file with that fault.
FAULTS = {
    "found undefined alias": "a: *nowhere\n",
    "second occurrence": "a: &x 1\nb: &x 2\n",
    "found undefined tag handle": "a: !x!y 1\n",
    r"found character '\t'": "a: 1\n\tb: 2\n",
    "mapping values are not allowed": "a: b: c\n",
    "mapping keys are not allowed": "a: ? b\n",
    "sequence entries are not allowed": "a: - b\n",
    "could not find expected ':'": "a: 1\nb\nc: 2\n",
    "expected ',' or '}'": "a: {b: 1\nc: 2\n",
    "expected ',' or ']'": "a: [1, 2\nb: 3\n",
    "expected <block end>": "a: 'b' c\n",
    "expected the node content": "a: ]\n",
    "found unexpected end of stream": "a: 'b\n",
    "found unexpected document separator": "a: 'b\n---\n'\n",
    "but found another document": "a: 1\n---\nb: 2\n",
    "expected '<document start>'": "a: 1\n...\nb: 2\n",
    "found unknown escape character": 'a: "\\q"\n',
    "special characters are not allowed": "a: \x07\n",
}


def problem_of(text: str) -> str:
    with pytest.raises(yaml.YAMLError) as raised:
        yaml.compose(text)
    return str(getattr(raised.value, "problem", None) or getattr(raised.value, "reason", ""))


def test_every_explained_message_has_a_file():
    assert [beginning for beginning, _ in MEANINGS] == list(FAULTS)


@pytest.mark.parametrize("beginning", FAULTS)
def test_pyyaml_says_it_of_this_file(beginning):
    problem = " ".join(problem_of(FAULTS[beginning]).split())
    assert problem.startswith(beginning)
    assert explain(problem) == dict(MEANINGS)[beginning]
