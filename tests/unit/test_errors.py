from __future__ import annotations

import shlex

import pytest

from weightsearch.errors import command, counted


@pytest.mark.parametrize(
    "name", ["100% #1?x=y&z/s.yaml", "a b.yaml", "it's.yaml", "$HOME.yaml", "plain.yaml", "ä.yaml"]
)
def test_a_command_can_be_copied(name):
    text = command("weightsearch", "run", name)
    assert shlex.split(text, comments=True) == ["weightsearch", "run", name]


def test_one_is_not_several():
    assert [counted(number, "problem") for number in (0, 1, 2)] == ["0 problems", "1 problem", "2 problems"]
    assert counted(1, "study", "studies") == "1 study"
    assert counted(2, "study", "studies") == "2 studies"
