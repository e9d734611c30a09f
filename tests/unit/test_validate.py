"""The command `validate`: everything that can be decided without an image is."""

from __future__ import annotations

import sys

import pytest

from weightsearch import cli


@pytest.fixture
def validate(tiny, monkeypatch, capsys):
    """Run the command; its output and exit status."""

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
        ("ray.address=head", "ray.address: expected auto or HOST:PORT"),
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


def test_a_baseline_with_a_term_that_the_study_lacks_is_refused(validate):
    values = "loss.fractional.weight: 1, loss.consistency.weight: 1"
    status, text = validate(f"search.baselines={{equal: {{{values}, loss.mae.weight: 1}}}}")
    assert status == 2
    assert "search.baselines.equal.loss.mae.weight: the study has no term 'mae'; known: integer, fractional," in text
    assert "give it weight 0 in loss: mae: {weight: 0}" in text
    status, _ = validate(f"search.baselines={{equal: {{{values}, loss.mae.weight: 1}}}}", "loss.mae={weight: 0}")
    assert status == 0


NETWORK = """
import torch


class Half(torch.nn.Module):
    def __init__(self, *, height: int = 2, width: int = 2) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 1, 3, padding=1)
        self.parts = (height, width)

    def forward(self, image):
        size = [round(one / part) for one, part in zip(image.shape[-2:], self.parts)]
        return torch.nn.functional.interpolate(self.layer(image), size=size).exp()
"""
OWN = ("loss={mae: {weight: {low: 0.1, high: 1}}}", "search.baselines={}")


def test_depth_at_a_fraction_of_the_image_is_told(validate, tiny):
    (tiny.parent / "own_half.py").write_text(NETWORK)
    status, text = validate("model={name: 'own_half:Half'}", *OWN)
    assert status == 0
    line = (
        "  the network predicts depth at 16x24: the loss compares it with the true depth at that size, metrics resize "
    )
    assert f"{line}it to 32x48\n" in text
    status, text = validate("model={name: 'own_half:Half', height: 1, width: 1}", *OWN)
    assert status == 0
    assert "predicts depth" not in text


def test_depth_at_another_size_is_refused_with_the_networks_name(validate, tiny):
    (tiny.parent / "own_half.py").write_text(NETWORK)
    status, text = validate("model={name: 'own_half:Half', width: 3}", *OWN)
    assert status == 2
    assert "model.name: the network Half: 'depth' is 16x16 for images of 32x48; expected the images' size, or" in text
    assert "own_half.py:" in text
