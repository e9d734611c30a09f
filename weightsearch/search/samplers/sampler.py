"""Interface of samplers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import optuna
from optuna.samplers import BaseSampler

from weightsearch.config import StudyConfig
from weightsearch.config.ranges import Range
from weightsearch.errors import SearchError
from weightsearch.plugins import build

# (study seed, trial number, space) -> Optuna sampler, created for each trial: all its state is in the database.
MakeSampler = Callable[[int, int, Mapping[str, Range]], BaseSampler]


def trial_seed(study_seed: int, number: int) -> int:
    """Seed of the proposal for a trial."""
    return int(np.random.SeedSequence([study_seed, number]).generate_state(1)[0])


def is_exhausted(sampler: BaseSampler, study: optuna.Study) -> bool:
    """Return True if a sampler has no further point to propose. Samplers with a finite number of points have a method
    `is_exhausted(study)`."""
    method = getattr(sampler, "is_exhausted", None)
    return method is not None and bool(method(study))


def check_sampler(config: StudyConfig) -> None:
    """Raise ConfigError for a space that the study's sampler cannot search, such as a grid over a continuous range."""
    sampler = config.search.sampler
    make: MakeSampler = build("sampler", sampler.name, sampler.options, {})
    try:
        make(config.base.seed, 0, config.space)
    except SearchError as error:
        raise config.yaml_source.error(("search", "sampler"), str(error)) from None
