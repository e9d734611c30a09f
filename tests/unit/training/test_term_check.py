"""A term that passes no gradient is refused by its name, before anything is trained; one that is 0 for now is not."""

from __future__ import annotations

import sys
import textwrap

import pytest

from tests.conftest import ROOT
from weightsearch.config import load_study
from weightsearch.data.dataset import open_dataset
from weightsearch.data.noise import noise
from weightsearch.errors import ModelError
from weightsearch.training import term_check
from weightsearch.training.preflight import learning, preflight, used_terms

TERMS = """
import torch
from torch import nn


class Detached:
    def __call__(self, prediction, batch):
        return (prediction["depth"].detach() - batch.depth).abs().mean()


class Rounded:
    def __call__(self, prediction, batch):
        return (prediction["depth"].round() - batch.depth).abs().mean()


class Whole:
    def __call__(self, prediction, batch):
        return prediction["depth"].long().float().mean() + 1


class Item:
    def __call__(self, prediction, batch):
        return torch.tensor(prediction["depth"].mean().item())


class TimesZero:
    def __call__(self, prediction, batch):
        return (0 * prediction["depth"]).sum() + 2


class Nothing:
    def __call__(self, prediction, batch):
        return (0 * prediction["depth"]).sum()


class OfItsOwn(nn.Module):
    def __init__(self):
        super().__init__()
        self.own = nn.Parameter(torch.ones(()))

    def forward(self, prediction, batch):
        return self.own**2


class NoNumber:
    def __call__(self, prediction, batch):
        return prediction["depth"].mean() * float("nan")


class Raises:
    def __call__(self, prediction, batch):
        raise RuntimeError("of no use")


class Hinge:
    \"\"\"0, and without a gradient, while pixels side by side are nearly as far away.\"\"\"

    def __call__(self, prediction, batch):
        return (prediction["depth"].diff(dim=-1).abs() - 1.5).clamp(min=0).mean()


class Rare:
    \"\"\"A constant 0 unless the batch has a frame of about this mean depth.\"\"\"

    def __init__(self, *, metres: float = 6.0):
        self.metres = metres

    def __call__(self, prediction, batch):
        right = (batch.depth.mean(dim=(1, 2, 3)) - self.metres).abs() < 1e-4
        if not right.any():
            return torch.zeros(())
        return prediction["depth"][right].mean()
"""
REFUSED = ["Detached", "Rounded", "Whole", "Item", "TimesZero", "OfItsOwn"]


@pytest.fixture
def own(tiny, monkeypatch):
    """A study of a user's own term, whose weight is 0 in the base configuration."""
    (tiny.parent / "own_terms.py").write_text(textwrap.dedent(TERMS))
    monkeypatch.syspath_prepend(str(tiny.parent))
    monkeypatch.delitem(sys.modules, "own_terms", raising=False)

    def study(name: str, options: str = ""):
        term = f"loss.mine={{term: 'own_terms:{name}', weight: {{low: 0, high: 1}}, {options}}}"
        return load_study(tiny, [term, "search.baselines={}"])

    return study


@pytest.fixture
def tried(monkeypatch):
    """Term -> its responses in the order in which they were measured, filled while terms are checked."""
    responses: dict[str, list[term_check.Response]] = {}
    original = term_check._respond

    def respond(criterion, index, *rest):
        found = original(criterion, index, *rest)
        responses.setdefault(criterion.names[index], []).append(found)
        return found

    monkeypatch.setattr(term_check, "_respond", respond)
    return responses


def on_noise(config, folder) -> None:
    preflight(learning(config), noise(config.base, 2, folder), terms=used_terms(config))


def on_data(config) -> None:
    preflight(learning(config), open_dataset(config.base), config.search.objectives, used_terms(config))


@pytest.mark.parametrize("name", REFUSED)
def test_a_term_without_a_gradient_is_refused_by_its_name(own, tmp_path, name):
    config = own(name)
    with pytest.raises(ModelError, match=r"loss\.mine: passes no gradient to any parameter of the network"):
        on_noise(config, tmp_path / "noise")
    with pytest.raises(ModelError, match=r"loss\.mine: passes no gradient"):
        on_data(config)


def test_a_term_that_is_always_0_is_refused_on_the_data_set_only(own, tmp_path):
    config = own("Nothing")
    on_noise(config, tmp_path / "noise")
    with pytest.raises(ModelError, match=r"loss\.mine: passes no gradient .*\(its value is 0\)"):
        on_data(config)


def test_a_term_that_is_0_on_the_first_outputs_is_not_refused(own, tmp_path, tried):
    config = own("Hinge")
    on_noise(config, tmp_path / "noise")
    on_data(config)
    assert [(one.value > 0, one.moves) for one in tried["mine"]] == [(False, False), (True, True)] * 2


def test_a_term_that_is_0_on_the_first_frames_is_not_refused(own, tmp_path):
    dataset = open_dataset(own("Rare").base)
    middle = dataset.splits["train"][len(dataset.splits["train"]) // 2]
    config = own("Rare", f"metres: {float(dataset.frames.depth[middle].mean())}")
    on_noise(config, tmp_path / "noise")
    on_data(config)
    with pytest.raises(ModelError, match=r"loss\.mine: passes no gradient"):
        on_data(own("Rare", "metres: 100"))


@pytest.mark.parametrize(
    ("name", "said"), [("NoNumber", "is nan on a first batch"), ("Raises", "RuntimeError: of no use .*own_terms.py")]
)
def test_a_term_that_is_broken_by_itself_is_named(own, tmp_path, name, said):
    with pytest.raises(ModelError, match=rf"loss\.mine: .*{said}"):
        on_noise(own(name), tmp_path / "noise")


def test_a_term_that_never_counts_is_not_looked_at(own, tiny, tmp_path, tried):
    own("Detached")
    config = load_study(tiny, ["loss.mine={term: 'own_terms:Detached', weight: 0}", "search.baselines={}"])
    assert used_terms(config) == {"integer", "fractional", "consistency"}
    on_noise(config, tmp_path / "noise")
    assert set(tried) == {"integer", "fractional", "consistency"}


def test_a_part_that_learns_later_counts(tiny, tmp_path, tried):
    """The depth terms of a network whose decoder waits for epoch 3 pass their gradient then."""
    on_noise(load_study(tiny, ["train.start_epochs={decoder: 3}"]), tmp_path / "noise")
    assert {name: [one.moves for one in found] for name, found in tried.items()} == {
        "integer": [True],
        "fractional": [True],
        "consistency": [True],
    }


@pytest.mark.parametrize("name", ["cotraining", "dualhead", "silog", "transfer", "transfer_ablation"])
def test_no_shipped_term_is_refused(name, tmp_path, monkeypatch, tried):
    monkeypatch.chdir(tmp_path)
    small = ["data.size=[32, 64]", "data.frames=48", "data.scenes=2"]
    config = load_study(ROOT / "studies" / f"{name}.yaml", small)
    on_noise(config, tmp_path / "noise")
    tried.clear()
    on_data(config)
    assert set(tried) == used_terms(config)
    assert [term for term, found in tried.items() if not found[-1].moves] == []
