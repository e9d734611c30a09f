"""Analyses of all trials of a study: importance, plateaus, redundancy, the winner against the baselines."""

from __future__ import annotations

import math
import random

import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from weightsearch.analysis import importance
from weightsearch.analysis.against_baselines import compare_pairs, half_interval
from weightsearch.analysis.importance import _above_chance, importances
from weightsearch.analysis.redundancy import redundancy
from weightsearch.analysis.sensitivity import plateaus, seed_noise

SPACE = {
    "a": FloatDistribution(0.01, 100, log=True),
    "b": FloatDistribution(0.01, 100, log=True),
    "c": CategoricalDistribution(["x", "y"]),
}


def sampled(count: int, seed: int = 0) -> list[dict]:
    numbers = random.Random(seed)
    return [
        {"a": 10 ** numbers.uniform(-2, 2), "b": 10 ** numbers.uniform(-2, 2), "c": numbers.choice("xy")}
        for _ in range(count)
    ]


@pytest.mark.parametrize("minimize", [True, False])
def test_both_importances_find_the_one_weight_that_matters(minimize):
    params = sampled(200)
    sign = 1 if minimize else -1
    found = importances(params, [sign * math.log10(one["a"]) ** 2 for one in params], SPACE, minimize=minimize)
    assert found.trials == 200
    for shares in found.shares.values():
        assert sum(shares.values()) == pytest.approx(1)
        assert next(iter(shares)) == "a"
        assert shares["a"] > 0.8
    assert set(found.shares) == {"PED-ANOVA", "fANOVA"}


def test_the_trials_that_each_method_used_are_counted(monkeypatch):
    """A limit of 20 selects 20 of 25 trials, evenly spread."""
    monkeypatch.setattr(importance, "MOST", 20)
    params = sampled(25)
    found = importances(params, [math.log10(one["a"]) ** 2 for one in params], SPACE, minimize=True)
    assert (found.trials, found.used) == (25, {"PED-ANOVA": 25, "fANOVA": 20})


def test_baselines_outside_the_space_and_too_few_trials_say_nothing():
    params = [*sampled(9), {"a": 0.0, "b": 1.0, "c": "x"}, {"b": 1.0, "c": "x"}]
    found = importances(params, [float(i) for i in range(11)], SPACE, minimize=True)
    assert found.shares == {}
    assert found.why == "9 of 11 trials inside the searched ranges; at least 10 are needed"
    assert importances(sampled(20), [1.0] * 20, SPACE, minimize=True).why == "all trials have the same value"


def test_a_parameter_that_does_nothing_is_not_above_chance_in_95_of_100_cases():
    hits = 0
    for seed in range(100):
        params, noise = sampled(40, seed), random.Random(-seed)
        hits += len(_above_chance([(one, noise.gauss(0, 1)) for one in params], SPACE, seed))
    assert hits / 300 == pytest.approx(0.05, abs=0.04)


def test_what_matters_is_above_chance():
    params, noise = sampled(40), random.Random(0)
    found = importances(
        params, [math.log10(one["a"]) ** 2 + noise.gauss(0, 0.5) for one in params], SPACE, minimize=True
    )
    assert found.above_chance == {"a"}


def test_trials_that_hardly_differ_say_nothing_and_nothing_breaks():
    same = [{"a": 1.0, "b": 1.0, "c": "x"}] * 12
    found = importances(same, [1.0 + 0.01 * i for i in range(12)], SPACE, minimize=True)
    assert found.shares == {} or sum(found.shares["PED-ANOVA"].values()) == pytest.approx(1)
    assert found.above_chance == frozenset()
    nearly = importances(sampled(30), [1.0 + 1e-13 * i for i in range(30)], SPACE, minimize=True)
    assert all(sum(shares.values()) == pytest.approx(1) for shares in nearly.shares.values())


def test_a_plateau_is_the_range_of_trials_that_are_nearly_as_good_as_the_best():
    trials = pd.DataFrame({"v": [1.0, 1.005, 1.009, 1.2], "a": [0.1, 1.0, 10.0, 100.0], "b": [1.0, 2.0, 1.5, 9.0]})
    wide, narrow = plateaus(trials, "v", {"a": (0.01, 100, True), "b": (0.0, 10.0, False)}, minimize=True, margin=0.01)
    assert (wide.low, wide.high, wide.trials) == (0.1, 10.0, 3)
    assert wide.share == pytest.approx(0.5)  # two of four decades
    assert narrow.share == pytest.approx(0.1)
    assert (
        plateaus(trials.assign(v=-trials["v"]), "v", {"a": (0.01, 100, True)}, minimize=False, margin=0.01)[0] == wide
    )


def test_seed_noise_is_pooled_within_sets_of_weights():
    assert seed_noise([[1.0, 3.0], [10.0, 12.0]]) == pytest.approx(math.sqrt(2))
    assert seed_noise([[1.0, 3.0], [5.0]]) == pytest.approx(math.sqrt(2))
    assert seed_noise([[1.0], []]) is None


def test_a_ratio_that_decides_is_found_and_the_common_factor_is_redundant():
    params = sampled(120)
    weights = pd.DataFrame({"a": [one["a"] for one in params], "b": [one["b"] for one in params]})
    noise = random.Random(1)
    values = [math.log10(one["a"] / one["b"]) ** 2 + noise.gauss(0, 0.05) for one in params]
    found = redundancy(weights, values)
    assert found.ratio[:2] == ("a", "b")
    assert found.ratio[2] > 0.95
    assert abs(found.common_factor) < 0.01


def test_one_trial_that_is_far_off_decides_nothing():
    params = sampled(25)
    weights = pd.DataFrame({"a": [one["a"] for one in params], "b": [one["b"] for one in params], "anchor": 1.0})
    noise = random.Random(2)
    values = [math.log10(one["a"]) ** 2 + noise.gauss(0, 0.05) for one in params]
    place = max(range(25), key=lambda index: abs(math.log10(params[index]["b"])))
    plain = redundancy(weights, values).ratio
    values[place] += 100
    assert redundancy(weights, values).ratio[:2] == plain[:2] == ("a", "anchor")


def test_a_common_factor_that_matters_is_told():
    params = sampled(120)
    weights = pd.DataFrame({"a": [one["a"] for one in params], "b": [one["b"] for one in params]})
    found = redundancy(weights, [math.log10(one["a"] * one["b"]) for one in params])
    assert found.common_factor > 0.9
    assert found.ratio[2] < 0.2


def test_a_fixed_weight_leaves_no_common_factor_to_search():
    params = sampled(50)
    weights = pd.DataFrame({"a": [one["a"] for one in params], "anchor": 1.0})
    assert redundancy(weights, [math.log10(one["a"]) for one in params]).common_factor is None
    assert redundancy(weights.head(9), list(range(9))) is None


def test_a_difference_counts_if_its_confidence_interval_excludes_zero():
    """Student's t with 2 degrees of freedom: 4.302653 * sd / sqrt(3)."""
    mine, theirs = {1: 1.0, 2: 2.0, 3: 3.0}, {1: 1.5, 2: 2.6, 3: 3.4, 9: 100.0}
    found = compare_pairs(mine, theirs, minimize=True)
    assert (found.best, found.other, found.pairs) == (2.0, 2.5, 3)
    assert found.change == pytest.approx(-0.2)
    assert found.margin == pytest.approx(4.302653 * 0.1 / math.sqrt(3) / 2.5, rel=1e-6)
    assert found.verdict == "better"
    assert compare_pairs(mine, theirs, minimize=False).verdict == "worse"
    assert compare_pairs(mine, {1: 1.5, 2: 1.5, 3: 3.4}, minimize=True).verdict == "undecided"
    same = {seed: value + 0.001 * seed for seed, value in mine.items()}
    assert compare_pairs(mine, same, minimize=True).verdict == "as good"
    assert compare_pairs({1: 1.0}, {1: 1.1}, minimize=True).verdict == "one seed"
    assert compare_pairs({1: 1.0}, {2: 1.1}, minimize=True) is None


def test_the_interval_covers_the_mean_in_95_of_100_cases():
    numbers = random.Random(0)
    hits = sum(
        abs(sum(values) / 4) <= half_interval(values)
        for values in ([numbers.gauss(0, 1) for _ in range(4)] for _ in range(4000))
    )
    assert hits / 4000 == pytest.approx(0.95, abs=0.012)
