"""Tree-structured Parzen estimators."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Annotated, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from weightsearch.config.ranges import Range
from weightsearch.search.samplers.sampler import MakeSampler, trial_seed
from weightsearch.search.space import distributions


def tpe(
    *,
    startup_trials: Annotated[int, Field(ge=1, description="Trials drawn at random before the model is used.")] = 10,
    candidates: Annotated[int, Field(ge=1, description="Points drawn for each proposal; the best is taken.")] = 24,
) -> MakeSampler:
    """Multivariate tree-structured Parzen estimators. Running trials count as bad ones, so that parallel workers do not
    propose the same point. Sources: Bergstra et al. 2011; Falkner et al. 2018."""

    def make(seed: int, number: int, space: Mapping[str, Range]) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return JointTPE(
                distributions(space),
                n_startup_trials=startup_trials,
                n_ei_candidates=candidates,
                multivariate=True,
                constant_liar=True,
                seed=trial_seed(seed, number),
            )

    return make


class JointTPE(TPESampler):
    """TPE over the whole space. Optuna's TPE uses the parameters that all trials have in common: with a single baseline
    outside the space it would ignore the dependencies of the other parameters."""

    def __init__(self, space: Mapping[str, BaseDistribution], **options: Any) -> None:
        super().__init__(**options)
        self.space = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        if len(study.directions) > 1:
            # Optuna completes the good trials with pruned trials, which have no values with several objectives: before
            # version 5 it raises, since then it takes the trials that were pruned first.
            complete = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
            self._gamma = lambda ended: min(math.ceil(0.1 * ended), 25, complete)
        return dict(self.space)
