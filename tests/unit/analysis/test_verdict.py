"""The verdict on the best trial, and the rate of false verdicts without a difference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from weightsearch.analysis.against_baselines import Pair, compare_all, compare_pairs, half_interval, holm
from weightsearch.analysis.verdict import Contender, judge

STUDIES = 800


def by_seed(values) -> dict[int, float]:
    return {seed: float(value) for seed, value in enumerate(values)}


@pytest.mark.parametrize(("count", "t"), [(2, 12.7062), (3, 4.30265), (16, 2.13145), (17, 2.11991), (40, 2.02269)])
def test_the_interval_is_student_s_for_any_number_of_seeds(count, t):
    """Tables of Student's t, two-sided 95 %; the normal distribution's 1.96 would be 6.7 % of false verdicts at 17."""
    values = np.random.default_rng(count).normal(size=count)
    assert half_interval(values) == pytest.approx(t * values.std(ddof=1) / math.sqrt(count), rel=1e-5)


@pytest.mark.parametrize("count", [2, 3, 5, 17, 40])
def test_without_a_difference_one_verdict_in_twenty_is_false(count):
    numbers = np.random.default_rng(count)
    false = 0
    for _ in range(STUDIES):
        best, other = numbers.normal(1.0, 0.1, (2, count))
        false += compare_pairs(by_seed(best), by_seed(other), minimize=True).verdict in ("better", "worse")
    assert false / STUDIES == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("count", [3, 17])
def test_with_several_baselines_one_study_in_twenty_has_a_false_verdict(count):
    """Four baselines and a trivial one that are as good as the best. Without a correction the rate would be one in seven."""
    numbers = np.random.default_rng(100 + count)
    false = each = 0
    for _ in range(STUDIES // 2):
        best, *others = numbers.normal(1.0, 0.1, (5, count))
        pairs = {str(place): Pair(by_seed(best), by_seed(other), True) for place, other in enumerate(others)}
        found = compare_all(pairs | {"trivial": Pair(by_seed(best), 1.0, True)})
        false += any(one.verdict in ("better", "worse") for one in found.values())
        alone = (compare_pairs(pair.best, pair.other, minimize=True).verdict for pair in pairs.values())
        each += any(verdict in ("better", "worse") for verdict in alone)
    assert false / (STUDIES // 2) <= 0.05 + 0.02
    assert each > 1.5 * false


def test_holm_s_correction():
    """Holm 1979: 4 * .005, 3 * .01, 2 * .03; corrected values never decrease."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_values_without_spread_are_compared_without_a_warning():
    same = {1: 0.5, 2: 0.5}
    assert compare_pairs(same, {1: 0.5, 2: 0.5}, minimize=True).verdict == "as good"
    assert compare_pairs(same, {1: 0.75, 2: 0.75}, minimize=True).verdict == "better"
    assert compare_pairs(same, 0.25, minimize=True).verdict == "worse"
    assert (
        compare_pairs({1: 0.1, 2: 0.11}, {1: 0.2, 2: 0.21}, minimize=True).verdict == "better"
    )  # -.1, but for rounding


def contender(search: float, *fresh: float, test: float | None = None, on_test: tuple[float, ...] = ()) -> Contender:
    splits = {"validation": {"abs_rel": by_seed(fresh)}, "test": {"abs_rel": by_seed(on_test)}}
    kept = {split: one for split, one in splits.items() if one["abs_rel"]}
    return Contender({"validation": {"abs_rel": search}, "test": {} if test is None else {"abs_rel": test}}, kept)


TRIVIAL = {
    "validation": {"constant_depth": {"abs_rel": 0.224}, "mean_depth": {"abs_rel": 0.25}},
    "test": {"constant_depth": {"abs_rel": 0.332}},
}


def said(best: Contender, others: dict[str, Contender], trivial=TRIVIAL) -> str:
    sentences = judge(best, others, trivial, {"abs_rel": "minimize"}).sentences("trial 5")
    warnings = [one.warning for one in sentences]
    assert warnings == sorted(warnings, reverse=True)  # the gravest first
    return " ".join(one.text for one in sentences)


def test_new_seeds_show_that_a_lucky_winner_loses_to_constant_depth():
    text = said(contender(0.21, 0.28, 0.27, 0.29, on_test=(0.47, 0.46, 0.48)), {})
    assert text.startswith(
        "Trial 5 is no better than constant_depth, a trivial baseline that ignores the image: abs_rel 0.28 against "
        "0.224 on the validation split (mean of 3 new seeds), 0.47 against 0.332 on the test split."
    )
    assert "Expect abs_rel 0.28 on the validation split (mean of 3 new seeds). The search's 0.21 is the value" in text
    lucky = said(contender(0.21, test=0.4), {})
    assert "had a better value than constant_depth" in lucky
    assert "0.4 against 0.332 on the test split." in lucky
    unsure = said(contender(0.21, 0.2, 0.23, 0.21), {})
    assert "Trial 5 is not significantly better than constant_depth" in unsure
    assert "Trial 5 is better than constant_depth" in said(contender(0.1, 0.11, 0.1, 0.12), {})


def test_a_study_of_an_older_version_has_no_trivial_baseline_on_the_test_split():
    text = said(contender(0.3, test=0.4), {}, {"validation": TRIVIAL["validation"], "test": {}})
    assert "abs_rel 0.3 against 0.224 on the validation split (one seed). Until" in text
    assert "trivial" not in said(contender(0.3), {}, {})


def test_the_test_split_never_advises():
    """Two seeds on the test split contradict the validation split."""
    better = contender(0.1, 0.1, 0.11, 0.1, 0.105, on_test=(0.5, 0.501))
    other = contender(0.2, 0.2, 0.2, 0.21, 0.205, on_test=(0.1, 0.1))
    text = said(better, {"published": other}, {})
    assert "Over 4 new seeds trial 5 is better than “published”. Use it." in text
    assert "Do not use" not in text
    assert "On the test split, for information only (means over new seeds): abs_rel 0.5005; “published” 0.1." in text
    only_test = said(contender(0.1, on_test=(0.5, 0.501)), {"published": contender(0.2, on_test=(0.1, 0.1))}, {})
    assert "The best so far is trial 5" in only_test
    assert "is better" not in only_test


def test_use_it_requires_a_win_over_the_trivial_baseline_too():
    published = contender(0.4, 0.4, 0.41, 0.4, 0.405)
    loses = said(contender(0.3, 0.3, 0.3, 0.31, 0.305), {"published": published})
    assert "is better than “published”" in loses
    assert "Use it" not in loses
    wins = said(contender(0.1, 0.1, 0.1, 0.11, 0.105), {"published": published})
    assert "is better than “published”. Use it." in wins
    assert "at 5 % for all 2 comparisons together (published, constant_depth; Holm's correction)" in wins


def test_a_loss_to_a_baseline_is_told_before_a_win_over_constant_depth():
    worse = {"published": contender(0.05, 0.05, 0.05, 0.051, 0.05)}
    text = said(contender(0.1, 0.1, 0.1, 0.11, 0.105), worse)
    assert text.startswith("Do not use trial 5: over 4 new seeds “published” is better. Trial 5 is better than const")


def test_one_new_seed_is_called_one_new_seed():
    text = said(contender(0.1, 0.12), {"published": contender(0.2, 0.2)}, {})
    assert "trained with one new seed, which shows no spread. Before relying on it, run: " in text
    assert "biased" not in text
    assert "the mean over new seeds" not in text


def test_within_a_percent_of_constant_depth_is_no_better_even_below_it():
    assert "Trial 5 is no better than constant_depth" in said(contender(0.2, 0.2235, 0.2236, 0.2234), {})


def test_not_significantly_better_than_constant_depth_is_a_warning():
    (unsure, *_) = judge(contender(0.21, 0.2, 0.23, 0.21), {}, TRIVIAL, {"abs_rel": "minimize"}).sentences("trial 5")
    assert "is not significantly better than constant_depth" in unsure.text
    assert unsure.warning


def test_use_it_needs_every_baseline_to_be_worse():
    best, scattered = contender(0.1, 0.1, 0.1, 0.11, 0.105), contender(0.2, 0.05, 0.3, 0.1, 0.25)
    text = said(best, {"published": contender(0.4, 0.4, 0.41, 0.4, 0.405), "equal": scattered}, {})
    assert "is better than “published”; it is not significantly different from “equal”" in text
    assert "Use it" not in text


def test_a_baseline_without_new_seeds_is_named_as_not_compared():
    text = said(contender(0.1, 0.1, 0.11, 0.1), {"published": contender(0.2)}, {})
    assert "Over 3 new seeds trial 5 was not compared with “published” over new seeds." in text


def test_as_good_is_corrected_for_all_comparisons():
    """The interval is ±0.7 % by itself, ±1.4 % at 95 % for four comparisons together."""
    pair = Pair({1: 0.9972, 2: 1.0, 3: 1.0028}, 1.0, True)
    assert compare_all({"a": pair})["a"].verdict == "as good"
    assert {one.verdict for one in compare_all(dict.fromkeys("abcd", pair)).values()} == {"undecided"}


def test_one_comparison_needs_no_correction():
    text = said(contender(0.1, 0.1, 0.11), {"published": contender(0.2, 0.2, 0.21)}, {})
    assert "confidence interval; Student's t-test, at 5 %. " in text


def test_every_objective_has_its_trivial_baseline():
    best = Contender({"validation": {"abs_rel": 0.1, "a1": 0.5}})
    trivial = {"validation": {"constant_depth": {"abs_rel": 0.2, "a1": 0.6}, "mean_depth": {"abs_rel": 0.3, "a1": 0.7}}}
    found = judge(best, {}, trivial, {"abs_rel": "minimize", "a1": "maximize"})
    assert [(one.objective, one.name, one.beaten) for one in found.naive] == [
        ("abs_rel", "constant_depth", True),
        ("a1", "mean_depth", False),
    ]
    assert "no better than mean_depth" in found.sentences("trial 0")[0].text


def test_a_best_that_loses_to_a_trivial_baseline_is_said_once():
    """Three sentences in a row named the best and what to do before relying on it."""
    found = judge(contender(0.3), {"published": contender(0.4)}, TRIVIAL, {"abs_rel": "minimize"})
    (only,) = found.sentences("the baseline “equal”", "no searched trial has a better abs_rel", trials=3)
    assert only.text.startswith(
        "The baseline “equal” is no better than constant_depth, a trivial baseline that ignores the image: "
    )
    assert ". No searched trial has a better abs_rel. Until it is better" in only.text
    assert only.text.count("Until it is better") == 1
    assert "compare" not in only.text
    two = Contender({"validation": {"abs_rel": 0.3, "a1": 0.5}})
    trivial = {"validation": {"constant_depth": {"abs_rel": 0.2, "a1": 0.6}}}
    texts = [
        one.text for one in judge(two, {}, trivial, {"abs_rel": "minimize", "a1": "maximize"}).sentences("trial 0")
    ]
    assert " ".join(texts).count("Until it is better") == 1
    assert " ".join(texts).count("is no better than constant_depth") == 2


def test_the_number_of_trials_and_the_study_s_own_command_are_told():
    found = judge(contender(0.1), {}, TRIVIAL, {"abs_rel": "minimize"})
    text = " ".join(one.text for one in found.sentences("trial 5", trials=12, compare="weightsearch compare a.yaml"))
    assert (
        "selected as the best of 12 trials that trained to the end, so its value is biased. Before relying on it, run: weightsearch compare a"
        in text
    )
    assert "best of" not in " ".join(one.text for one in found.sentences("trial 5", trials=1))
