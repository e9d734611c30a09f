"""Samplers: each is a function of its options that returns a maker, which is called anew for every trial with the
study's seed, the trial's number and the space. So nothing of a sampler need be saved."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field

from weightsearch.config import StudyConfig
from weightsearch.config.ranges import Range
from weightsearch.errors import SearchError
from weightsearch.plugins import build
from weightsearch.search.space import distributions, grid_points

MakeSampler = Callable[[int, int, Mapping[str, Range]], BaseSampler]


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of the suggestion for a trial."""
    return int(np.random.SeedSequence([study_seed, number]).generate_state(1)[0])


def random() -> MakeSampler:
    """Each value drawn evenly from its range, on the log scale where it has one."""
    return lambda seed, number, _: RandomSampler(seed=trial_seed(seed, number))


def tpe(
    *, startup_trials: Annotated[int, Field(ge=1)] = 10, candidates: Annotated[int, Field(ge=1)] = 24
) -> MakeSampler:
    """Multivariate tree-structured Parzen estimators (Bergstra et al. 2011; Falkner et al. 2018). Running trials count
    as bad ones, so that workers spread. startup_trials: drawn at random first. candidates: drawn for each
    suggestion."""

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


def grid(*, points: Annotated[int, Field(ge=2)] | None = None) -> MakeSampler:
    """Every combination once, in an order shuffled by the study's seed. points: of each continuous range. When the
    search has fewer trials than the grid has points, the rest is left out."""

    def make(seed: int, _: int, space: Mapping[str, Range]) -> BaseSampler:
        return Grid({name: grid_points(name, found, points) for name, found in space.items()}, seed)

    return make


def check_sampler(config: StudyConfig) -> None:
    """Raise ConfigError for a space that the study's sampler cannot walk, such as a grid over a continuous range."""
    sampler = config.search.sampler
    make: MakeSampler = build("sampler", sampler.name, sampler.options, {})
    try:
        make(config.base.seed, 0, config.space)
    except SearchError as error:
        raise config.yaml_source.error(("search", "sampler"), str(error)) from None


class JointTPE(TPESampler):
    """TPE over the whole space, always. Optuna's own takes the parameters that all trials have in common: a single
    baseline outside the space would make it blind to how the others hang together."""

    def __init__(self, space: Mapping[str, BaseDistribution], **options: Any) -> None:
        super().__init__(**options)
        self.space = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        if len(study.directions) > 1:
            # Optuna fills up the good ones with pruned trials, of which it knows no values when there are several
            # objectives: before version 5 it raises, since then it takes those that were pruned first.
            complete = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
            self._gamma = lambda ended: min(math.ceil(0.1 * ended), 25, complete)
        return dict(self.space)


class Grid(GridSampler):
    """Optuna's grid, taken in order: its own choice may repeat points and stops only inside `Study.optimize`."""

    def __init__(self, values: Mapping[str, list[Any]], seed: int) -> None:
        super().__init__(values, seed=seed)
        self.size = math.prod(len(points) for points in values.values())

    def taken(self, study: optuna.Study) -> set[int]:
        """The points that trials of the study have."""
        trials = study.get_trials(deepcopy=False)
        return {trial.system_attrs["grid_id"] for trial in trials if "grid_id" in trial.system_attrs}

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if "grid_id" in trial.system_attrs or "fixed_params" in trial.system_attrs:
            return
        left = sorted(set(range(self.size)) - self.taken(study))
        storage = study._storage
        storage.set_trial_system_attr(trial._trial_id, "search_space", self._search_space)
        storage.set_trial_system_attr(trial._trial_id, "grid_id", left[0])

    def after_trial(self, *_: Any) -> None:
        """Nothing: whoever asks looks at `taken`."""
