"""TPE where Optuna's own would be misled."""

from __future__ import annotations

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from weightsearch.search.samplers.tpe import JointTPE

SPACE = {"x": FloatDistribution(0.0, 1.0)}


def proposals(objectives: int, count: int = 40) -> list[float]:
    """Proposals after many pruned trials at .1 and a single full one at .9."""
    found = []
    for seed in range(count):
        study = optuna.create_study(directions=["minimize"] * objectives)
        for _ in range(29):
            study.add_trial(create_trial(state=TrialState.PRUNED, params={"x": 0.1}, distributions=SPACE))
        study.add_trial(create_trial(params={"x": 0.9}, distributions=SPACE, values=[0.5] * objectives))
        study.sampler = JointTPE(SPACE, n_startup_trials=5, seed=seed)
        found.append(study.ask(SPACE).params["x"])
    return found


@pytest.mark.parametrize("objectives", [2, 3])
def test_trials_that_were_pruned_are_no_good_examples_of_several_objectives(objectives):
    found = proposals(objectives)
    assert sum(value > 0.6 for value in found) > 0.8 * len(found)
