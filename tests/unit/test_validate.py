"""The command `validate`: everything that can be decided without an image is."""

from __future__ import annotations

import sys

import pytest

from weightsearch import cli


@pytest.fixture
def validate(tiny, monkeypatch, capsys):
    """What the command prints, and its exit status."""

    def run(*sets: str) -> tuple[int, str]:
        words = ["weightsearch", "validate", "tiny.yaml", *(word for one in sets for word in ("--set", one))]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setattr(sys, "orig_argv", words)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        assert said.err == "" or said.out == ""
        return int(end.value.code or 0), said.out + said.err

    return run


LISTED = "data={name: file_list, root: ., size: [32, 48], min_depth: 0.3, max_depth: 6, train: %s}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("data.split={gap: 20}", "data.split: validation gets no frame: 0.15 of the longest video (16 frames)"),
        ("data.split={train: 0.9, validation: 0.001, test: 0}", "data.split: validation gets no frame"),
        ("data.neighbours=[-8, 8]", "data.neighbours: no frame of the split"),
        (LISTED % "gone.txt", "data: cannot read the list"),
        ("storage=postgresql://ann@db:54x2/d", "storage: not a database URL"),
        ("storage=sqlite://", "storage: a database in memory would be lost; write sqlite:///file.db"),
        ("storage=sqlite:///:memory:", "storage: a database in memory would be lost; write sqlite:///file.db"),
        ("ray.address=head", "ray.address: expected auto, HOST:PORT"),
        ("search.objectives={ate: minimize}", "search.objectives.ate: cannot be measured"),
        ("loss.mae={weight: 1, space: log, mask: 3}", "loss.mae.mask: unknown key"),
        ("loss.epipolar={weight: {low: 0, high: 1}}", "loss.epipolar: needs the network's output 'flow'"),
    ],
)
def test_a_mistake_is_one_located_line(validate, given, said):
    status, text = validate(given, "search.baselines={}")
    assert status == 2
    assert said in text
    assert text.count("\n") == 1
    assert text.rstrip().endswith(")")


def test_a_valid_study_says_what_it_has(validate):
    status, text = validate()
    assert status == 0
    assert text.splitlines()[:2] == ["tiny.yaml: study 'tiny' is valid", "  frames: 22 train, 4 validation, 2 test"]
