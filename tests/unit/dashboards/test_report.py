"""Reports of studies in every state, from a real database."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.reports import HOSTILE, NOW, OF_DUAL_HEAD, Page, findings
from tests.stores import driving
from tests.synthetic import BASELINES, EPOCHS, config, synthetic
from weightsearch.dashboards.report.data import ReportData, read_report_data
from weightsearch.dashboards.report.files import write_figures, write_tables
from weightsearch.dashboards.report.loss_sections import conflicts_section, contributions_section, gradients_section
from weightsearch.dashboards.report.page import SECTIONS, chosen_sections, render
from weightsearch.dashboards.report.section import Section
from weightsearch.dashboards.report.sensitivity_section import sensitivity_section
from weightsearch.dashboards.report.summary_section import summary_section
from weightsearch.errors import WeightsearchError
from weightsearch.study.store import StudyStore


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study of 60 trials and two baselines, each of these confirmed with three seeds."""
    url = f"sqlite:///{tmp_path_factory.mktemp('report')}/s.db"
    synthetic(url, 60)
    store = StudyStore.open(url, "synthetic", mode="write")
    best = read_report_data(store).best.number
    for trial, values in ((best, (0.160, 0.161, 0.162)), (0, (0.20, 0.21, 0.20)), (1, (0.159, 0.163, 0.161))):
        for seed, value in enumerate(values):
            store.confirm(trial, seed, {"validation": {"abs_rel": value}, "test": {"abs_rel": value + 0.01}})
    store.close()
    return url


@pytest.fixture(scope="module")
def found(url: str) -> ReportData:
    return findings(url)


def test_outputs_of_several_units_are_not_compared(found):
    words = "gradients at different heads are not compared"
    base = found.config.base
    beside = base.model_copy(update={"data": base.data.model_copy(update={"neighbours": (-1, 1)})})
    depth_alone = replace(found, config=replace(found.config, base=beside))
    frames = found.frames
    shared = frames.measurements[~frames.measurements["name"].str.startswith("heads/")]
    video = replace(depth_alone, frames=replace(frames, measurements=shared))  # as trainings of such networks report
    sections = [gradients_section(one) for one in (found, depth_alone, video)]
    assert [any(words in text.lower() for text in section.text) for section in sections] == [False, False, True]
    assert [list(section.figures) for section in sections] == [["shared", "heads"], ["shared", "heads"], ["shared"]]
    assert list(sections[2].tables[0].columns) == ["", "term", "at the shared parameters"]
    assert set(sections[2].data["place"]) == {"shared"}
    assert list(conflicts_section(video).figures) == ["shared"]


def test_the_contributions_part_warns_of_terms_without_pixels(found):
    assert not any("no pixel" in text for text in contributions_section(found).text)
    steps = [(0, 1, "consistency", 20.0), (0, 2, "consistency", 20.0), (1, 1, "integer", 1.0)]
    rows = [(number, epoch, "without_pixels", term, count) for number, epoch, term, count in steps]
    every = found.frames.measurements
    table = pd.concat([every, pd.DataFrame(rows, columns=every.columns)], ignore_index=True)
    text = contributions_section(replace(found, frames=replace(found.frames, measurements=table))).text
    assert [one for one in text if "no pixel" in one] == [
        "Trial 0: the loss term 'consistency' had no pixel to learn from at 40 of 160 steps, which gave it no gradient "
        "and do not count in its mean."
    ]


def test_the_summary_says_if_a_trivial_baseline_beats_the_best_trial(found):
    """The best trial has 0.161 over new seeds on the validation split and 0.171 on the test split."""

    def section(factor: float) -> Section:
        naive = {"mean_depth": {"abs_rel": factor * 0.161}}, {"mean_depth": {"abs_rel": factor * 0.171}}
        return summary_section(replace(found, summary=replace(found.summary, naive=naive[0], naive_test=naive[1])))

    beats, loses = section(1.2), section(0.5)
    assert "is better than mean_depth, a trivial baseline that ignores the image" in " ".join(beats.text)
    assert (
        "is no better than mean_depth, a trivial baseline that ignores the image: abs_rel 0.161 against 0.0805 on the "
        "validation split (mean of 3 new seeds), 0.171 against 0.0855 on the test split. Until it is better"
    ) in loses.text[2]
    assert loses.text[0].startswith("Trained: ")
    rows = {row[0]: row for row in loses.tables[0].rows}
    assert rows["mean_depth"][1:5] == ["0.0805", "0.0855", "0.0805", "0.0855"]
    assert rows["mean_depth"][5].endswith(": worse")
    assert rows["mean_depth"][6] == "100 % higher"
    assert len(rows["mean_depth"]) == len(loses.tables[0].columns)
    assert "mean_depth" not in {row[0] for row in summary_section(found).tables[0].rows}


def test_every_part_stands_on_the_page_and_nothing_is_fetched(found):
    page = Page(render(found.name, chosen_sections(found), NOW))
    assert [one for one in page.ids if one in SECTIONS] == OF_DUAL_HEAD
    assert page.outside == []


def test_the_summary_says_what_to_use_and_how_sure_that_is(found):
    section = summary_section(found)
    text = " ".join(section.text)
    words = "is better than “published”; it is not significantly different from “equal” (0.0 ± 2.7 %): 3 seeds do not decide it"
    assert words in text
    assert "Expect abs_rel 0.161 on the validation split (mean of 3 new seeds)." in text
    assert section.facts[0] == ("0.161", "abs_rel to expect (3 new seeds, validation)")
    assert "at 5 % for all 2 comparisons together (published, equal; Holm's correction)" in text
    table = section.tables[0]
    assert list(table.columns[3:7]) == [
        "new seeds, validation",
        "new seeds, test",
        "best vs baseline, validation",
        "best vs baseline, test",
    ]
    rows = {row[0]: row for row in table.rows}
    best = next(row for label, row in rows.items() if label.startswith("best"))
    assert best[4] == "0.171 ± 0.001 (3)"
    # (0.171 - 0.21333) / 0.21333, and its interval: 4.303 * sd(-0.040, -0.049, -0.038) / sqrt(3)
    assert rows["published"][6] == "19.8 ± 6.8 % lower"  # on the test split, which decides nothing
    assert rows["published"][5] == "20.8 ± 7.2 % lower, p = 0.013: better"
    assert rows["equal"][5].endswith("p = 1: not significantly different")


def confirmed(folder: Path, best: Sequence[float], published: Sequence[float], equal: Sequence[float]) -> str:
    """The advice of a study whose best and baselines had these values with new seeds."""
    url = f"sqlite:///{folder}/s.db"
    synthetic(url, 30, states=["COMPLETE"])
    store = StudyStore.open(url, "synthetic", mode="write")
    for trial, values in ((read_report_data(store).best.number, best), (0, published), (1, equal)):
        for seed, value in enumerate(values):
            store.confirm(trial, seed, {"validation": {"abs_rel": value}})
    text = " ".join(summary_section(read_report_data(store)).text)
    store.close()
    return text


def test_a_winner_that_new_seeds_show_to_be_worse_is_not_to_be_used(tmp_path):
    text = confirmed(tmp_path, [0.301, 0.302, 0.303], [0.151, 0.152, 0.153], [0.301, 0.303, 0.302])
    assert "Do not use trial" in text
    assert "over 3 new seeds “published” is better" in text


def test_equally_good_means_that_the_interval_lies_within_a_percent(tmp_path):
    text = confirmed(tmp_path, [0.3, 0.3001, 0.3002], [0.4, 0.41, 0.42], [0.3, 0.3, 0.3])
    assert "is better than “published”; it is within 1 % of “equal”" in text


def test_seeds_that_scatter_decide_nothing(tmp_path):
    text = confirmed(tmp_path, [0.2, 0.4, 0.3], [0.4, 0.2, 0.5], [0.25, 0.3, 0.5])
    assert "is not significantly different from “published” (" in text
    assert "as good" not in text


def test_warnings_of_the_verdict_are_set_off(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    synthetic(url, 30, states=["COMPLETE"])
    found = read_report_data(StudyStore.open(url, "synthetic", mode="read"))
    beaten = replace(found, summary=replace(found.summary, naive={"mean_depth": {"abs_rel": 0.001}}))
    section = summary_section(beaten)
    assert len(section.warnings) == 1
    assert "is no better than mean_depth" in section.warnings[0]
    assert set(section.warnings) < set(section.text)
    assert render("s", [section], NOW).count('<p class="warning">') == 1
    assert summary_section(found).warnings == []


def test_the_table_says_of_every_comparison_that_it_has_one_seed(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    synthetic(url, 30, states=["COMPLETE"])
    found = read_report_data(StudyStore.open(url, "synthetic", mode="read"))
    naive = {"mean_depth": {"abs_rel": 0.4}, "constant_depth": {"abs_rel": 0.5}}
    table = summary_section(replace(found, summary=replace(found.summary, naive=naive))).tables[0]
    assert [row[3].endswith(("higher, one seed", "lower, one seed", "same, one seed")) for row in table.rows[1:]] == [
        True
    ] * 4
    assert table.caption == "The test split is for information only."  # no ±, no p


def test_trials_near_the_best_are_counted_whatever_their_values_are(tmp_path):
    """A baseline with a weight of 0, outside of a logarithmic range, counts too."""
    url = f"sqlite:///{tmp_path}/s.db"
    synthetic(url, 30, states=["COMPLETE"])
    found = read_report_data(StudyStore.open(url, "synthetic", mode="read"))
    trials = found.frames.trials.copy()
    best = trials["abs_rel"].astype(float).min()
    trials.loc[trials["number"] == 0, ["abs_rel", *found.ranges]] = [best, *(0.0 for _ in found.ranges)]
    (count, of), (more, _) = (
        (int(words[0]), words[2])
        for words in (
            sensitivity_section(replace(found, frames=replace(found.frames, trials=table))).text[0].split()
            for table in (found.frames.trials, trials)
        )
    )
    assert more == count + 1
    assert of == str(len(trials))


def test_the_test_split_alone_advises_nothing(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    synthetic(url, 30, states=["COMPLETE"])
    store = StudyStore.open(url, "synthetic", mode="write")
    for trial, value in ((read_report_data(store).best.number, 0.9), (0, 0.1), (1, 0.1)):
        for seed in (1, 2):
            store.confirm(trial, seed, {"test": {"abs_rel": value + 0.001 * seed}})
    text = " ".join(summary_section(read_report_data(store)).text)
    store.close()
    assert "The best so far is" in text
    assert "Do not use" not in text
    assert (
        "On the test split, for information only (means over new seeds): abs_rel 0.9015; “published” 0.1015, “equal” 0.1015."
        in text
    )


def test_a_winner_of_one_seed_is_told_with_caution_whatever_it_is(tmp_path):
    for name, options in {"baseline": {"trials": 1}, "alone": {"trials": 4, "baselines": {}}}.items():
        url = f"sqlite:///{tmp_path}/{name}.db"
        synthetic(url, states=["COMPLETE"], **options)
        text = " ".join(summary_section(findings(url)).text)
        assert "It was trained with one seed" in text
        assert "model.decode among linear, rounded" not in text  # which the tree does not search
        assert "loss.fractional.weight from 0.1 to 100 (log)" in text


def test_the_best_ratio_is_found_by_the_analysis(found):
    sections = {section.name: section for section in chosen_sections(found)}
    assert any(
        "at epoch 1 depends mainly on one ratio, fractional / consistency" in text
        for text in sections["redundancy"].text
    )
    words = "62 trials lie inside the search space: PED-ANOVA uses 62 of them, fANOVA uses 62 of them."
    assert words in sections["importance"].text[0]
    shares = {row[0]: float(row[1]) for row in sections["importance"].tables[0].rows}
    assert shares["loss.fractional.weight"] + shares["loss.consistency.weight"] > 0.8
    contribution = {(row[0], row[1]): row[4] for row in sections["contributions"].tables[0].rows}
    assert contribution["published", "fractional"] == "75.8 %"  # 10 * .25 / (.2 + 2.5 + .6)
    ratio = {(row[0], row[1]): row for row in sections["gradients"].tables[0].rows}
    assert list(sections["gradients"].tables[0].columns[2:]) == ["at the shared parameters", "at the heads"]
    assert ratio["published", "fractional"][2:] == ["1.92", "2.14"]  # 10 / mean(1, 10, .5 * 9.2), and * 6.1
    assert ratio["published", "consistency"][2:] == ["0.885", "0.651"]


def test_cost_counts_what_pruning_saved(found):
    rows = dict(next(section for section in chosen_sections(found, ["cost"])).tables[0].rows)
    assert rows["epochs trained"] == str(22 * EPOCHS + 40)
    assert rows["epochs that pruning saved"] == f"{40 * (EPOCHS - 1)} (about 9 min 20 s)"


def test_pictures_of_the_same_frames_stand_side_by_side(found):
    strips = chosen_sections(found, ["pictures"])[0].strips
    assert [strip.name for strip in strips] == ["seq/frame-0", "seq/frame-1"]
    assert [tile.label for tile in strips[0].columns[0]] == ["image", "truth"]
    assert [
        (upper.label.rpartition(": ")[2], lower.label.rpartition(": ")[2]) for upper, lower in strips[0].columns[1:]
    ] == [("depth", "error")] * 3
    assert all(tile.source.startswith("data:image/webp;base64,") for column in strips[0].columns for tile in column)


def made(url: str, kind: str) -> None:
    if kind == "empty":
        with driving(url, "synthetic", config({"abs_rel": "minimize"}, {})):
            pass
    elif kind == "single":
        synthetic(url, 1, states=["COMPLETE"], baselines={})
    elif kind == "failed":
        synthetic(url, 4, states=["FAIL"], baselines={}, reason=HOSTILE)
    elif kind == "running":
        synthetic(url, 2, states=["RUNNING"], baselines={})
    elif kind == "pruned":
        synthetic(url, 3, states=["PRUNED"], baselines={})
    elif kind == "several objectives":
        synthetic(url, 12, objectives={"abs_rel": "minimize", "rmse": "minimize", "a1": "maximize"})
    else:
        synthetic(url, 6, baselines={HOSTILE: BASELINES["published"]})


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("empty", "The study has no trials yet."),
        ("single", "The best so far is trial 0"),
        ("failed", "Every trial failed"),
        ("running", "No trial has trained to the end yet."),
        ("pruned", "all were pruned"),
        (
            "several objectives",
            "Pareto-optimal: no other trial is at least as good in every objective and better in one.",
        ),
    ],
)
def test_studies_in_every_state_have_a_report_with_every_section(tmp_path, kind, says):
    url = f"sqlite:///{tmp_path}/s.db"
    made(url, kind)
    found = findings(url)
    sections = chosen_sections(found)
    page = Page(render(found.name, sections, NOW))
    expected = [
        name for name in SECTIONS if name in OF_DUAL_HEAD or (name == "pareto" and kind == "several objectives")
    ]
    assert [name for name in page.ids if name in SECTIONS] == expected
    assert says in " ".join(text for section in sections for text in section.text)
    assert "img" not in page.tags or kind in ("single", "several objectives")


@pytest.mark.parametrize("kind", ["failed", "hostile"])
def test_names_and_reasons_cannot_bring_in_markup(tmp_path, kind):
    url = f"sqlite:///{tmp_path}/s.db"
    made(url, kind)
    found = findings(url)
    text = render(HOSTILE, chosen_sections(found), NOW)
    assert HOSTILE not in text
    assert "onerror=alert(1)&gt;" in text
    head, _, data = text.partition('<script type="application/json" id="figures">')
    data = data.partition("</script>")[0]
    assert "<" not in data
    assert "img" not in Page(head).tags or kind == "hostile"


def test_a_section_that_does_not_apply_is_refused_if_it_is_selected(found):
    with pytest.raises(WeightsearchError, match="--select: the section 'pareto' does not apply to this study"):
        chosen_sections(found, ["summary", "pareto"])


def test_rows_of_wide_tables_name_their_columns_for_phones(found):
    text = render(found.name, chosen_sections(found, ["summary", "protocol"]), NOW)
    assert text.count('<table class="wide">') == 1  # the protocol's table has two columns
    assert 'data-column="best vs baseline, validation">20.8 ± 7.2 % lower' in text


def test_a_part_that_is_not_there_is_told_with_those_that_are(found):
    with pytest.raises(WeightsearchError, match="unknown section 'contribution'; known: summary, history"):
        chosen_sections(found, ["contribution"])


def test_tables_are_written_as_csv(found, tmp_path):
    one = tmp_path / "shares.csv"
    assert write_tables(chosen_sections(found, ["contributions"]), "csv", one) == [one]
    with one.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * EPOCHS
    last = next(row for row in rows if row["trial"] == "published" and row["epoch"] == "8")
    assert float(last["fractional"]) == pytest.approx(2.5 / 3.3, rel=1e-6)
    many = write_tables(chosen_sections(found), "csv", tmp_path / "all")
    assert {path.stem for path in many} >= {"history", "curves", "gradients", "conflicts", "protocol", "claims"}
    with pytest.raises(WeightsearchError, match="name a folder"):
        write_tables(chosen_sections(found), "csv", one)


def test_without_figures_there_is_nothing_to_draw(found, tmp_path):
    with pytest.raises(WeightsearchError, match="no figure to draw in protocol"):
        write_figures(chosen_sections(found, ["protocol"]), "png", tmp_path / "x.png")


def test_the_report_has_no_password_and_no_absolute_path(found, tmp_path):
    text = render(found.name, chosen_sections(found), NOW)
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert str(Path.home()) not in outside
    assert "sqlite:" not in outside
