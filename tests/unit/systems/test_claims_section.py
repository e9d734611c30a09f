"""Evidence from a study's trials for the claims that training decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler

from tests.stores import attempt, driving
from tests.stores import record as plain_record
from weightsearch.dashboards.report.data import ReportData, read_report_data
from weightsearch.records import TermRecord, measured_terms
from weightsearch.systems.claims_section import claims_section, evidence

FOCUS = "loss.silog.variance_focus"
MINIMAL = {
    "name": "s",
    "data": {"name": "procedural", "size": [32, 48], "min_depth": 0.3, "max_depth": 6.0},
    "model": {"name": "encoder_decoder"},
    "train": {"epochs": 1, "lr": 1e-3},
}


def study(tmp_path, tree: dict[str, Any], trials: Mapping[str, tuple[dict[str, Any], dict[str, float]]]) -> ReportData:
    """A study whose baselines have these parameters and these objectives; each parameter is a choice of their values."""
    tmp_path.mkdir(exist_ok=True)
    tree = deepcopy({**MINIMAL, **tree})
    space = {}
    for path in next(iter(trials.values()))[0]:
        *sections, last = path.split(".")
        node = tree
        for section in sections:
            node = node[section]
        choices = list(dict.fromkeys(params[path] for params, _ in trials.values()))
        node[last] = {"choices": choices} if len(choices) > 1 else choices[0]
        space[path] = CategoricalDistribution(choices)
    config = {
        "tree": tree,
        "objectives": dict.fromkeys(next(iter(trials.values()))[1], "minimize"),
        "baselines": {name: params for name, (params, _) in trials.items()},
    }
    with driving(f"sqlite:///{tmp_path}/s.db", "s", config) as writer:
        for name, (params, values) in trials.items():
            writer.enqueue_baseline(name, params)
            number = writer.ask(RandomSampler(seed=0), space).number
            weights = {term: params.get(f"loss.{term}.weight", one["weight"]) for term, one in tree["loss"].items()}
            terms = measured_terms({term: TermRecord(1, float(weight), 0.5, 1) for term, weight in weights.items()})
            writer.record(number, attempt(name), replace(plain_record(1), measurements=terms, metrics=dict(values)))
            writer.complete(number)
        return read_report_data(writer.store, pictures=False)


def transfer(mae: float, edge: float, ssim: float) -> dict[str, Any]:
    return {"loss.mae.weight": mae, "loss.edge.weight": edge, "loss.ssim.weight": ssim}


ABLATION = {
    "published": (transfer(0.6, 0.2, 1), {"abs_rel": 0.21}),
    "without_mae": (transfer(0, 0.2, 1), {"abs_rel": 0.23}),
    "mae_only": (transfer(0.6, 0, 0), {"abs_rel": 0.22}),
    "edge_only": (transfer(0, 0.2, 0), {"abs_rel": 1.18}),
    "ssim_only": (transfer(0, 0, 1), {"abs_rel": 0.2}),
}
TRANSFER = {"loss": {"mae": {"weight": 0.6}, "edge": {"weight": 0.2}, "ssim": {"weight": 1.0}}}


def test_the_ablation_study_compares_the_weighted_loss_with_each_term_alone(tmp_path):
    found = study(tmp_path, TRANSFER, ABLATION)
    (name, text), *others = evidence(found).items()
    assert (name, others) == ("weighted_beats_single", [])
    assert "published 0.21; " in text
    assert "mae alone 0.22 (published is better by one seed)" in text
    assert "ssim alone 0.2 (published is no better by one seed)" in text
    assert text.endswith("better than 2 of 3 single terms.")
    assert "without_mae" not in text
    section = claims_section(found)
    assert section is not None
    assert {row[0] for row in section.tables[0].rows} == {"transfer"}
    assert any("better than 2 of 3 single terms" in row[3] for row in section.tables[0].rows)


def confirmed(found: ReportData, values: Mapping[int, Sequence[float]]) -> str:
    """The evidence if trials have these values with new seeds."""
    rows = [
        {"number": number, "seed": seed, "split": "validation", "metric": "abs_rel", "value": value}
        for number, fresh in values.items()
        for seed, value in enumerate(fresh, 1)
    ]
    table = found.frames.confirmations.reindex(range(len(rows)))
    for column in table.columns:
        table[column] = [row[column] for row in rows]
    return evidence(replace(found, frames=replace(found.frames, confirmations=table)))["weighted_beats_single"]


def test_verdicts_over_new_seeds_are_corrected_together_and_put_into_words(tmp_path):
    """p = .020 by itself, .061 after Holm's correction for three comparisons."""
    single = [0.2, 0.2, 0.2]
    others = {key: [0.1, 0.11, 0.1] for key in (2, 3)}
    text = confirmed(study(tmp_path, TRANSFER, ABLATION), {0: [0.1, 0.12, 0.14], 4: single, **others})
    assert "(3 seeds) (published is not significantly different); better than 0 of 3 single terms" in text
    alone = confirmed(
        study(tmp_path / "alone", TRANSFER, without("mae_only", "edge_only")), {0: [0.1, 0.12, 0.14], 2: single}
    )
    assert "ssim alone 0.2 ± 0 (3 seeds) (published is better); better than 1 of 1 single terms" in alone
    same = confirmed(study(tmp_path / "same", TRANSFER, ABLATION), {key: [0.1, 0.11, 0.1] for key in (0, 2, 3, 4)})
    assert "(published is equal within 1 %)" in same


def without(*names: str) -> dict[str, Any]:
    return {name: trial for name, trial in ABLATION.items() if name not in names}


def test_values_over_new_seeds_replace_values_of_the_search(tmp_path):
    fresh = {0: [0.251, 0.252, 0.253], 4: [0.201, 0.202, 0.203]}
    text = confirmed(study(tmp_path, TRANSFER, ABLATION), fresh)
    assert "published 0.252 ± 0.001 (3 seeds)" in text
    assert "ssim alone 0.202 ± 0.001 (3 seeds) (published is worse)" in text


def test_a_study_without_single_terms_or_of_other_terms_is_no_evidence(tmp_path):
    few = without("mae_only", "edge_only", "ssim_only")
    assert evidence(study(tmp_path, TRANSFER, few)) == {}


def test_trials_with_silog_alone_say_which_focus_is_best(tmp_path):
    trials = {
        "published": ({FOCUS: 0.85, "loss.mae.weight": 0}, {"abs_rel": 0.11}),
        "half": ({FOCUS: 0.5, "loss.mae.weight": 0}, {"abs_rel": 0.12}),
        "mixed": ({FOCUS: 0.2, "loss.mae.weight": 1}, {"abs_rel": 0.1}),
    }
    tree = {"loss": {"silog": {"weight": 1.0}, "mae": {"weight": 0.0}}}
    found = study(tmp_path, tree, trials)
    text = evidence(found)["best_variance_focus"]
    assert "half (focus 0.5) 0.12; published (focus 0.85) 0.11" in text
    assert "mixed" not in text
    section = claims_section(found)
    assert section is not None
    assert {row[0] for row in section.tables[0].rows} == {"scale-invariant"}


@pytest.mark.parametrize("methods", [("none", "minimum"), ("none",), ("minimum",)])
def test_rebalancing_is_compared_with_none_in_every_objective(tmp_path, methods):
    tree = {
        "loss": {"photometric_rigid": {"weight": 1.0}, "photometric_flow": {"weight": 1.0}},
        "data": {**MINIMAL["data"], "neighbours": [-1, 1]},
        "rebalance": {"eta": 0.1},
    }
    trials = {
        method: ({"rebalance.method": method}, {"abs_rel": 0.3 - 0.1 * (method == "none"), "ate": 0.02})
        for method in methods
    }
    found = study(tmp_path, tree, trials)
    text = evidence(found).get("rebalancing_helps", "")
    if len(methods) == 1:
        assert text == ""
        return
    assert "none) abs_rel 0.2, ate 0.02" in text
    assert "minimum (minimum) abs_rel 0.3, ate 0.02" in text
    section = claims_section(found)
    assert section is not None
    assert {row[0] for row in section.tables[0].rows} == {"co-training"}


@pytest.mark.parametrize("published", [10.0, 9.0])
def test_a_dual_head_study_is_evidence_only_with_weights_1_to_10(tmp_path, published):
    path = "loss.fractional.weight"
    tree = {"loss": {"integer": {"weight": 1.0}, "fractional": {"weight": 1.0}}}
    trials = {"published": ({path: published}, {"abs_rel": 0.3}), "equal": ({path: 1.0}, {"abs_rel": 0.2})}
    text = evidence(study(tmp_path, tree, trials)).get("best_weights", "")
    assert ("published (1 : 10) 0.3" in text) == (published == 10)
    assert bool(text) == (published == 10)
