"""The public Python API on a study that really ran."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

import weightsearch as ws
from tests.conftest import TINY
from weightsearch.api.sources import call_of

STUDY = {**yaml.safe_load(TINY), "name": "api", "analysis": {"budget": 0.5}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def study(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with ws.run({**STUDY, "storage": f"sqlite:///{folder}/api.db"}, {"search.trials": 4}, quiet=True) as study:
            yield study


def test_the_promise_is_what_the_module_lists():
    assert dir(ws) == sorted(ws.__all__)
    assert all(getattr(ws, name).__doc__ for name in ws.__all__)
    with pytest.raises(AttributeError, match="no attribute 'searcher'"):
        _ = ws.searcher


def test_importing_it_loads_neither_torch_nor_ray():
    code = "import sys, weightsearch; print(sorted({'torch', 'ray', 'optuna', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_password_among_the_overrides_is_in_no_command():
    call = call_of("s.yaml", {"storage": "postgresql://ann:secret@host/studies", "train.epochs": 2})
    assert call == ("s.yaml", "--set", "storage=postgresql://ann:***@host/studies", "--set", "train.epochs=2")


def test_a_study_is_loaded_from_a_mapping_with_overrides():
    loaded = ws.load_study(STUDY, {"train.epochs": 3, "name": "other"})
    assert (loaded.name, loaded.base.train.epochs) == ("other", 3)
    assert list(loaded.space) == ["loss.fractional.weight", "loss.consistency.weight"]
    with pytest.raises(ws.WeightsearchError, match=r"train\.epoks: unknown key"):
        ws.load_study({**STUDY, "train": {**STUDY["train"], "epoks": 2}})


def test_a_shipped_study_is_extended_by_a_mapping():
    loaded = ws.load_study({"extends": "silog", "name": "mine", "search": {"trials": 7}})
    assert (loaded.name, loaded.search.trials) == ("mine", 7)


def test_tables_have_one_row_a_thing(study):
    trials, epochs, terms, gradients = study.trials, study.epochs, study.terms, study.gradients
    assert len(trials) == 4
    assert set(trials["state"]) <= {"COMPLETE", "PRUNED"}
    assert len(epochs) == trials["epochs"].sum()
    assert epochs.columns[:3].tolist() == ["number", "epoch", "seconds"]
    assert {"abs_rel", "rmse", "a1"} <= set(epochs.columns)
    assert len(terms) == 3 * len(epochs)
    shares = terms.groupby(["number", "epoch"])["contribution"].sum()
    np.testing.assert_allclose(shares, 1, rtol=1e-9)
    means = gradients.groupby(["number", "epoch", "place"])["ratio"].mean()
    np.testing.assert_allclose(means, 1, rtol=1e-9)
    assert set(study.measurements("weight", "term")["term"]) == {"integer", "fractional", "consistency"}


def test_best_and_baselines_are_trials_with_their_configurations(study):
    complete = study.trials[study.trials["state"] == "COMPLETE"]
    assert study.best.values["abs_rel"] == complete["abs_rel"].min()
    assert set(study.baselines) == {"published", "depth_only"}
    published = study.baselines["published"]
    assert published.params == {"loss.fractional.weight": 10, "loss.consistency.weight": 0.5}
    assert published.configuration["loss"]["fractional"]["weight"] == 10
    assert study.verdict


def test_figures_of_the_report_are_given_by_name(study):
    assert study.figure("contributions").data[0].type == "bar"
    section, names = next((section, names) for section, names in study.figures.items() if len(names) > 1)
    assert study.figure(section) == study.figure(section, names[0]) != study.figure(section, names[1])
    with pytest.raises(ws.WeightsearchError, match="no figure 'contribution'; this study has history"):
        study.figure("contribution")


def test_the_report_is_a_page_and_the_export_trains(study, folder):
    assert "Contributions" in study.report(folder / "report.html").read_text()
    best = study.export(folder / "best.yaml")
    result = ws.train(best, folder / "best", quiet=True)
    assert result["metrics"]["abs_rel"] == pytest.approx(study.best.values["abs_rel"], rel=1e-6)
    measured = ws.evaluate(best, checkpoint=folder / "best" / "checkpoint.pt", split="validation")
    assert measured.metrics == pytest.approx(result["metrics"])
    assert measured.protocol["split"] == "validation"


def test_a_study_is_opened_by_file_url_and_database(study, folder):
    path = folder / "again.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "storage": f"sqlite:///{folder}/api.db"}))
    for source in (path, f"sqlite:///{folder}/api.db", folder / "api.db"):
        with ws.open_study(source) as again:
            assert again.best == study.best
            assert repr(again).startswith("<weightsearch study 'api': ")
    with pytest.raises(ws.WeightsearchError, match="there is no study 'none'; studies there: api"):
        ws.open_study(folder / "api.db", "none")


def test_what_is_given_in_vain_is_refused(study, folder):
    with pytest.raises(ws.WeightsearchError, match="give checkpoint or predictions"):
        ws.evaluate(folder / "best.yaml")
    with pytest.raises(ws.WeightsearchError, match="overrides are for load_study"):
        ws.run(ws.load_study(STUDY), {"train.epochs": 1})


def test_functions_take_plain_tensors():
    true = torch.rand(2, 1, 24, 32, generator=torch.Generator().manual_seed(0)) * 4 + 1
    mask = torch.ones_like(true, dtype=torch.bool)
    mask[..., :5] = False
    wrong = torch.where(mask, true * 1.1, torch.nan)
    assert float(ws.losses.mae(wrong, true, mask)) == pytest.approx(float(0.1 * true[mask].mean()), rel=1e-5)
    assert float(ws.losses.silog(wrong, true, mask, variance_focus=1)) == pytest.approx(0, abs=1e-5)
    assert float(ws.losses.ssim(true, true, mask, dynamic_range=10)) == pytest.approx(0, abs=1e-6)
    found = ws.metrics.depth(wrong.nan_to_num(1), true, mask, max_depth=10)
    assert found["abs_rel"] == pytest.approx(0.1, rel=1e-5)
    assert found["a1"] == 1
    assert set(found) <= set(ws.metrics.METRICS)
    with pytest.raises(ValueError, match=r"one shape \[B, 1, H, W\], found \[2, 24, 32\], \[2, 1, 24, 32\]"):
        ws.losses.mae(true[:, 0], true)
