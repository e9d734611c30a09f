"""Private names of Optuna (attributes, keys of system attributes, tables); used in this file only.

pyproject.toml allows the versions of Optuna that tests/unit/study/test_optuna_internals.py has confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.samplers import GridSampler
from optuna.storages import BaseStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial

TABLES: Final = frozenset({"version_info", "studies", "trials"})  # tables by which an Optuna database is recognized
INTERMEDIATE_VALUES: Final = "trial_intermediate_values"
SYSTEM_ATTRIBUTES: Final = "trial_system_attributes"
RUNG: Final = "completed_rung_"  # keys of the notes of successive halving and Hyperband
FIXED: Final = "fixed_params"  # key of the parameters that a trial was enqueued with
GRID_POINT: Final = "grid_id"
GRID: Final = "search_space"


def create_tables(connection: sa.Connection) -> None:
    models.BaseModel.metadata.create_all(connection)


def study_id(study: optuna.Study) -> int:
    return study._study_id


def storage_of(study: optuna.Study) -> BaseStorage:
    return study._storage


def read_anew(study: optuna.Study, storage: BaseStorage | None = None) -> None:
    """Discard Optuna's cache of trials. storage: replaces the study's storage, and thereby that storage's cache."""
    if storage is not None:
        study._storage = optuna.storages.get_storage(storage)
    study._thread_local.cached_all_trials = None


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    return trial._trial_id


def suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    return trial._suggest(name, distribution)


def fixed_params(storage: BaseStorage, of_trial: int) -> dict[str, Any] | None:
    """Parameters that a trial was enqueued with; None for a trial that was not enqueued."""
    params: dict[str, Any] | None = storage.get_trial_system_attrs(of_trial).get(FIXED)
    return params


def fix_params(storage: BaseStorage, of_trial: int, params: Mapping[str, Any]) -> None:
    storage.set_trial_system_attr(of_trial, FIXED, dict(params))


def is_enqueued(trial: FrozenTrial) -> bool:
    return FIXED in trial.system_attrs


def grid_point(trial: FrozenTrial) -> int | None:
    """Number of a trial's grid point; None for a trial without a grid point."""
    return trial.system_attrs.get(GRID_POINT)


def give_grid_point(sampler: GridSampler, study: optuna.Study, trial: FrozenTrial, point: int) -> None:
    """Make the sampler propose grid point `point` for a trial."""
    storage_of(study).set_trial_system_attr(trial._trial_id, GRID, sampler._search_space)
    storage_of(study).set_trial_system_attr(trial._trial_id, GRID_POINT, point)
