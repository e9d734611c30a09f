from __future__ import annotations

import shlex

import pytest

from weightsearch.errors import called, command, counted, difference


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


@pytest.mark.parametrize(
    ("share", "margin", "words"),
    [
        (-0.098, None, "9.8 % lower"),
        (0.33, None, "33.0 % higher"),
        (2.0, None, "200 % higher"),
        (11.5, None, "12.5 times"),
        (0.0001, None, "the same"),
        (-0.208, 0.072, "20.8 ± 7.2 % lower"),
        (0.0001, 0.03, "0.0 ± 3.0 %"),
        (float("nan"), None, ""),
    ],
)
def test_differences_are_higher_or_lower(share, margin, words):
    assert difference(share, margin) == words


def test_commands_carry_the_overrides():
    call = ("a b.yaml", "--set", "name=x", "--set", "storage=sqlite:///o.db")
    text = called(call, "compare", "--seeds", 3)
    assert text == "weightsearch compare 'a b.yaml' --seeds 3 --set name=x --set storage=sqlite:///o.db"
