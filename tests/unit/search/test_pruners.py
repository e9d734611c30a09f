"""The pruner over several objectives, against Optuna's successive halving and against what it shall do."""

from __future__ import annotations

import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import SuccessiveHalvingPruner

from tests.faults.simulation import Simulator, Violated, make_spec
from weightsearch.plugins import build
from weightsearch.search.pruners.non_dominated import NonDominated
from weightsearch.study.writer import Writer

# The losses of trials that come to a rung one after another, a different value each.
arrivals = st.lists(st.integers(-1000, 1000), min_size=1, max_size=25, unique=True)


@pytest.mark.parametrize(
    ("options", "epochs"),
    [({}, [1, 3, 9, 27]), ({"min_epochs": 4, "factor": 2}, [4, 8, 16, 32]), ({"min_epochs": 5}, [5, 15, 45])],
)
def test_rungs(options, epochs):
    pruner = build("pruner", "non_dominated", options, {"epochs": 50})
    assert [epoch for epoch in range(1, 51) if pruner.decides_after(epoch)] == epochs


@given(arrivals, st.integers(2, 4), st.sampled_from(["minimize", "maximize"]))
def test_with_one_objective_it_decides_as_successive_halving_does(values, factor, direction):
    """Optuna's pruner in a study of its own, whose trials end at their first rung or go on for ever."""
    study = optuna.create_study(direction=direction)
    theirs = SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)
    ours = NonDominated(factor=factor)
    losses: dict[int, list[float]] = {}
    for number, value in enumerate(values):
        trial = study.ask()
        trial.report(value, 1)
        losses[number] = [value if direction == "minimize" else -value]
        assert ours.prunes(number, losses) == theirs.prune(study, study.trials[number]), (number, losses)


@pytest.mark.parametrize(("count", "going_on"), [(1, 1), (2, 1), (3, 1), (5, 1), (6, 2), (8, 2), (9, 3)])
def test_a_third_of_those_that_came_goes_on_and_at_least_one(count, going_on):
    losses = {number: [float(number), float(number)] for number in range(count)}
    assert [number for number in losses if not NonDominated().prunes(number, losses)] == list(range(going_on))


def test_rank_decides_before_room_and_room_before_number():
    """The front's ends, then what has most room between its neighbours, then its others, then the next rank."""
    losses = {0: [0.6, 20.0], 1: [0.0, 9.0], 2: [0.5, 8.5], 3: [1.0, 8.0], 4: [5.0, 4.0], 5: [9.0, 0.0], 6: [0.7, 21.0]}
    best_first = [1, 5, 4, 3, 2, 0, 6]
    for factor in (2, 3, 4, 7):
        pruner = NonDominated(factor=factor)
        going_on = [number for number in losses if not pruner.prunes(number, losses)]
        assert going_on == sorted(best_first[: 7 // factor])


def test_of_equal_trials_the_earlier_goes_on():
    losses = {8: [1.0, 1.0], 3: [1.0, 1.0], 5: [1.0, 1.0]}
    assert [NonDominated().prunes(number, losses) for number in (3, 5, 8)] == [False, True, True]


def test_what_is_not_finite_ends_and_takes_nobodys_place():
    losses = {0: [0.1, math.nan], 1: [0.5, 0.5], 2: [math.nan, math.nan], 3: [0.6, 0.4]}
    assert [NonDominated(factor=2).prunes(number, losses) for number in range(4)] == [True, False, True, True]
    assert NonDominated().prunes(0, {0: [math.nan]})


def test_a_decision_that_is_made_again_is_found_by_the_simulation(tmp_path, monkeypatch):
    """An epoch that is reported a second time is not decided a second time: more trials may have come since."""
    stored = Writer.record
    monkeypatch.setattr(Writer, "record", lambda *words: stored(*words)._replace(new=True))
    simulate = Simulator(tmp_path)

    def many() -> None:
        for seed in range(0, 300, 2):  # of several drivers
            if len(make_spec(tmp_path, seed, alone=False).search.objectives) > 1:
                simulate(seed)

    with pytest.raises(Violated, match=r"trial \d was let go on after \d epochs and is PRUNED after them"):
        many()
    simulate.close()
