"""The sections of a report that tell of rebalancing, of studies whose Delta is simulated with known distributions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.samplers import RandomSampler

from tests.helpers.reports import NOW, OF_REBALANCING, Page, findings
from tests.stores import HERE, driving
from tests.synthetic import BASELINES, EPOCHS, MU, SPACE, balance, config, reach, record, sigma, synthetic
from weightsearch.analysis.normal import below, density
from weightsearch.dashboards.report.data import ReportData
from weightsearch.dashboards.report.files import write_tables
from weightsearch.dashboards.report.page import SECTIONS, chosen_sections, render
from weightsearch.dashboards.report.section import Section
from weightsearch.errors import WeightsearchError
from weightsearch.study.writer import Attempt
from weightsearch.systems.cotraining.rebalancing_section import looked_at, rebalanced

WEIGHTS = BASELINES["published"]
SECTION = {"method": "neighbourhood", "eta": {"low": 0.02, "high": 0.2, "log": True}}
METHODS = {
    "wide": {**WEIGHTS, "rebalance.eta": 0.05},
    "none": {**WEIGHTS, "rebalance.eta": 0.05, "rebalance.method": "none"},
    "negative": {**WEIGHTS, "rebalance.eta": 0.05, "rebalance.method": "negative"},
    "one_sided": {**WEIGHTS, "rebalance.eta": 0.08, "rebalance.method": "one_sided"},
    "oracle": {**WEIGHTS, "rebalance.eta": 0.08, "rebalance.method": "oracle"},
}
SIGMA, REACH = sigma(EPOCHS), reach(EPOCHS)  # of the last epoch


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    url = f"sqlite:///{tmp_path_factory.mktemp('balanced')}/s.db"
    synthetic(url, 6, states=["COMPLETE"], baselines=METHODS, rebalance=SECTION)
    return findings(url)


@pytest.fixture(scope="module")
def sections(found) -> dict[str, Section]:
    return {section.name: section for section in chosen_sections(found, OF_REBALANCING)}


def rows(section: Section) -> dict[str, dict[str, str]]:
    (table,) = section.tables
    return {row[0]: dict(zip(table.columns[1:], row[1:], strict=True)) for row in table.rows}


def percent(cell: str) -> float:
    return float(cell.removesuffix(" %")) / 100


def within(low: float, high: float) -> float:
    """The share of static pixels with low < Delta < high in the last epoch."""
    return below((high - MU) / SIGMA) - below((low - MU) / SIGMA)


def moved(low: float, high: float) -> float:
    """The share of moving ones."""
    return (min(high, REACH) - max(low, 0.0)) / REACH


def test_a_study_that_rebalances_has_every_part_and_another_none_of_these(found, tmp_path):
    page = Page(render(found.name, chosen_sections(found), NOW))
    assert [name for name in page.ids if name in SECTIONS] == [name for name in SECTIONS if name != "pareto"]
    assert page.outside == []
    synthetic(f"sqlite:///{tmp_path}/s.db", 2)
    without = findings(f"sqlite:///{tmp_path}/s.db")
    assert {section.name for section in chosen_sections(without)}.isdisjoint(OF_REBALANCING)
    for name in OF_REBALANCING:
        with pytest.raises(WeightsearchError, match=f"the section '{name}' does not apply to this study"):
            chosen_sections(without, [name])


def test_method_and_eta_are_those_of_each_trial(found, sections):
    table = rows(sections["rebalancing"])
    assert {label: row["method"] for label, row in table.items()} == {
        "best": "neighbourhood",
        "wide": "neighbourhood",
        "none": "none",
        "negative": "negative",
        "one_sided": "one_sided",
        "oracle": "oracle",
    }
    assert float(table["best"]["eta"]) == pytest.approx(found.best.params["rebalance.eta"], rel=0.01)
    assert [table[label]["eta"] for label in ("wide", "one_sided")] == ["0.05", "0.08"]


@pytest.mark.parametrize(
    ("label", "low", "high"), [("wide", MU - 0.05, MU + 0.05), ("one_sided", -1, MU + 0.08), ("negative", -1, 0)]
)
def test_what_was_left_out_is_what_the_distributions_say(sections, label, low, high):
    row = rows(sections["rebalancing"])[label]
    static, moving = within(low, high), max(0.0, moved(low, high))
    kept = 0.9 * static + 0.1 * moving
    assert percent(row["used by depth and pose"]) == pytest.approx(kept, abs=0.02)
    assert percent(row["recall"]) == pytest.approx(1 - moving, abs=0.03)
    assert percent(row["precision"]) == pytest.approx(0.1 * (1 - moving) / (1 - kept), abs=0.03)


def test_what_was_left_out_is_told_in_words(found, sections):
    section, last = sections["rebalancing"], rebalanced(found.frames, found.best.number).iloc[-1]
    text = section.text[1]
    assert text.startswith(
        f"best (neighbourhood): depth and pose learned from {100 * last['kept']:.0f} % of the pixels"
    )
    assert f"{100 * last['recall']:.0f} % of the moving pixels were excluded" in text
    assert f"{100 * last['precision']:.0f} % of the excluded pixels moved." in text
    none = rows(section)["none"]
    assert (none["used by depth and pose"], none["precision"], none["recall"]) == ("100 %", "–", "0 %")


def test_the_distributions_are_drawn_with_their_mode_and_limits(sections):
    for kind, figure in (
        ("static", sections["rebalancing"].figures["static"]),
        ("moving", sections["rebalancing"].figures["moving"]),
    ):
        maps = [trace for trace in figure.data if trace.type == "heatmap"]
        assert len(maps) == 6
        shares = np.array(maps[0].customdata)
        centres = np.array(maps[0].y)
        assert shares.shape == (len(centres), EPOCHS)
        assert shares.sum(axis=0) == pytest.approx(np.ones(EPOCHS), abs=2e-3)
        mean = MU if kind == "static" else REACH / 2
        assert (shares[:, -1] * centres).sum() == pytest.approx(mean, abs=0.01)
    limits = [trace for trace in figure.data if trace.name == "limit"]
    found = [tuple(round(value, 6) for value in set(trace.y)) for trace in limits]
    assert found[2:] == [(-0.04,), (0.06,), (0.0,), (0.09,)]  # after the best trial's two
    assert [trace.y[0] for trace in figure.data if trace.name == "mode"] == [MU] * 6


def test_the_area_is_that_of_the_two_distributions(sections):
    """P(U(0, r) > N(mu, sigma²)) = 1 - E[max(x, 0)] / r."""
    section = sections["detection"]
    for epoch in (1, EPOCHS):
        m = MU / sigma(epoch)
        area = 1 - (sigma(epoch) * density(m) + MU * below(m)) / reach(epoch)
        measured = section.data[section.data["epoch"] == epoch]
        assert len(measured) == 6
        assert list(measured["signed_auc"]) == pytest.approx([area] * 6, abs=0.012)
        assert (measured["absolute_auc"] < measured["signed_auc"] - 0.02).all()
    best = section.data[section.data["trial"] == "best"]
    first, last = best.iloc[0], best.iloc[-1]
    assert (
        f"best: Delta detected moving pixels with an AUC of {last['signed_auc']:.2f} in the last epoch "
        f"({last['absolute_auc']:.2f} by |Delta - mode|), {first['signed_auc']:.2f} in the first"
    ) in section.text[1]


def test_the_best_eta_is_where_the_densities_cross_and_the_spread_is_sigma(sections):
    row = rows(sections["detection"])["wide"]
    crossing = SIGMA * math.sqrt(-2 * math.log(SIGMA * math.sqrt(2 * math.pi) / REACH))
    assert float(row["best eta"]) == pytest.approx(crossing, abs=1 / 64)
    assert float(row["static spread"]) == pytest.approx(SIGMA, rel=0.04)
    assert float(row["eta set"]) == 0.05


def test_the_point_of_what_was_left_out_lies_on_its_curve(sections):
    figure = sections["detection"].figures["roc"]
    points = {trace.xaxis: (trace.x[0], trace.y[0]) for trace in figure.data if trace.name == "excluded by the trial"}
    places = {trace.xaxis: place for place, trace in enumerate(one for one in figure.data if one.name == "chance")}
    labels = ["best", "wide", "none", "negative", "one_sided", "oracle"]
    by_label = {labels[places[axis]]: point for axis, point in points.items()}
    assert set(by_label) == {"best", "wide", "negative", "one_sided"}  # the others do not go by Delta
    for label, low, high in (("wide", MU - 0.05, MU + 0.05), ("negative", -1, 0), ("one_sided", -1, MU + 0.08)):
        fpr, tpr = by_label[label]
        assert fpr == pytest.approx(1 - within(low, high), abs=0.06)  # a bin is 1/64 wide
        assert tpr == pytest.approx(1 - max(0.0, moved(low, high)), abs=0.04)


def test_theory_is_weighed_against_what_was_measured(sections):
    """Flow's error falls by .3 where Delta rises by 1: the left side is .3 of what is needed, so the rule Delta < 0 is
    the better choice; the normal distribution asks for more, since moving pixels widen it."""
    section = sections["rebalancing_theory"]
    data = section.data
    assert list(data["found"]) == pytest.approx(list(0.3 * data["needed_measured"]), abs=0.003)
    m = data["mean"] / data["deviation"]
    assert list(data["needed"]) == pytest.approx(
        list(data["deviation"] * [density(x) / below(-x) for x in m]), rel=1e-9
    )
    assert (data["needed"] > data["needed_measured"]).all()
    row = rows(section)["wide"]
    assert row["better by the normal threshold"] == row["better by the measured threshold"] == "Delta < 0"
    text = " ".join(section.text)
    assert "says that the rule Delta < 0 leaves the lower error" in text
    assert f"V was the better choice in 0 of {EPOCHS} epochs" in text


def test_the_mean_inside_v_is_that_of_the_two_distributions_and_not_mu(sections):
    data = sections["rebalancing_theory"].data
    last = data[(data["trial"] == "wide") & (data["epoch"] == EPOCHS)].iloc[0]
    static, moving = 0.9 * within(MU - 0.05, MU + 0.05), 0.1 * moved(MU - 0.05, MU + 0.05)
    inside = (static * MU + moving * (MU + 0.05) / 2) / (static + moving)
    assert last["inside"] == pytest.approx(inside, abs=0.002)
    assert last["mean"] == pytest.approx(0.9 * MU + 0.1 * REACH / 2, abs=0.002)
    assert last["inside_normal"] == pytest.approx(
        MU + (last["mean"] - MU) * 0.05**2 / 3 / last["deviation"] ** 2, rel=0.05
    )


def test_the_normal_distribution_is_drawn_over_the_measured_one(sections):
    figure = sections["rebalancing_theory"].figures["normal"]
    measured, normal = (next(trace for trace in figure.data if trace.name == name) for name in ("measured", "normal"))
    for line in (measured, normal):
        assert sum(share for share in line.y if share is not None) == pytest.approx(1, abs=1e-3)
    deep = max(share for share in measured.y if share is not None)
    assert deep == pytest.approx(0.9 / 64 * density(0) / SIGMA, rel=0.05)


def test_the_tables_can_be_written(found, sections, tmp_path):
    written = write_tables(list(sections.values()), "csv", tmp_path)
    assert [path.stem for path in written] == OF_REBALANCING
    assert len((tmp_path / "rebalancing.csv").read_text().splitlines()) == 1 + 6 * EPOCHS


def test_without_the_truth_there_is_one_distribution_and_no_detection(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    synthetic(url, 2, states=["COMPLETE"], baselines={}, rebalance={**SECTION, "eta": 0.05}, known=False)
    sections = {section.name: section for section in chosen_sections(findings(url), OF_REBALANCING)}
    assert list(sections["rebalancing"].figures) == ["all", "shares"]
    assert sections["rebalancing"].captions["all"] == "Delta over training: all pixels"
    assert "excluded" not in sections["rebalancing"].text[1]
    assert rows(sections["rebalancing"])["best"]["recall"] == "–"
    assert sections["detection"].text == ["The data set has no ground truth of moving pixels."]
    assert sections["detection"].figures == {}
    assert len(sections["rebalancing_theory"].figures) == 3


@pytest.mark.parametrize("states", [["FAIL"], ["RUNNING"], []])
def test_before_anything_is_trained_one_sentence_says_so(tmp_path, states):
    url = f"sqlite:///{tmp_path}/s.db"
    synthetic(url, len(states), states=states, baselines={}, rebalance={**SECTION, "eta": 0.05})
    sections = chosen_sections(findings(url), OF_REBALANCING)
    assert [section.name for section in sections] == OF_REBALANCING
    for section in sections:
        assert section.text == ["No epoch of the best trial or of a baseline has been trained with rebalancing yet."]


def one_trial(folder: Path, section: dict[str, Any], *records: Any) -> ReportData:
    url = f"sqlite:///{folder}/s.db"
    weights = {"integer": 1.0, "fractional": 1.0, "consistency": 1.0}
    with driving(url, "synthetic", config({"abs_rel": "minimize"}, {}, section)) as writer:
        number = writer.ask(RandomSampler(seed=0), SPACE).number
        for epoch, found in enumerate(records, start=1):
            writer.record(number, Attempt("a", 0, {}, HERE), record(weights, epoch, 0, found))
        writer.complete(number)
    return findings(url)


def test_epochs_without_a_single_pixel_leave_gaps(tmp_path):
    section = {"method": "neighbourhood", "eta": 0.05}
    some = balance(1, 0, section)
    quantities, delta = some["rebalancing"], some["delta"]
    unknown = ("mode", "mean", "deviation", "below", "near", "precision", "recall")
    none = {"rebalancing": {**quantities, **dict.fromkeys(unknown, math.nan)}, "delta": {}}
    static = {name: count for name, count in delta.items() if name.startswith("static/")}
    still = {"rebalancing": {**quantities, "precision": 0.0, "recall": math.nan}, "delta": static}
    for place, records in enumerate([(none,), (some, none), (none, some), (still, still)]):
        folder = tmp_path / str(place)
        folder.mkdir()
        found = one_trial(folder, section, *records)
        sections = {section.name: section for section in chosen_sections(found, OF_REBALANCING)}
        render("gaps", list(sections.values()), NOW)
        told = " ".join(text for section in sections.values() for text in section.text)
        assert "nan" not in told
        assert ("no pixel moved in the last epoch" in told) is (records[-1] is not some)
        assert ("nothing can be compared" in told) is (records[-1] is none)


def test_limits_begin_after_the_warm_up(tmp_path):
    section = {"method": "neighbourhood", "eta": 0.05, "warmup_epochs": 2}
    found = one_trial(tmp_path, section, *(balance(epoch, 0, section) for epoch in (1, 2, 3)))
    (trial,) = looked_at(found)
    low, high = trial.limits
    assert list(low[2:]) == [pytest.approx(MU - 0.05)]
    assert list(high[2:]) == [pytest.approx(MU + 0.05)]
    assert low[:2].isna().all()
    assert high[:2].isna().all()
