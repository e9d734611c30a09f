"""Grid search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import optuna
from optuna.samplers import BaseSampler, GridSampler
from optuna.trial import FrozenTrial
from pydantic import Field

from weightsearch.config.ranges import Range
from weightsearch.search.samplers.sampler import MakeSampler
from weightsearch.search.space import grid_points
from weightsearch.study.optuna_internals import give_grid_point, grid_point, is_enqueued


def grid(*, points: Annotated[int, Field(ge=2)] | None = None) -> MakeSampler:
    """Grid search: every combination once, in an order shuffled by the study's seed. If the search has fewer trials
    than the grid has points, the rest is left out. points: number of points of each continuous range."""

    def make(seed: int, _: int, space: Mapping[str, Range]) -> BaseSampler:
        return Grid({name: grid_points(name, allowed, points) for name, allowed in space.items()}, seed)

    return make


class Grid(GridSampler):
    """Optuna's grid sampler with points in order. Optuna's choice may repeat points, and stops only in `optimize`."""

    def __init__(self, values: Mapping[str, list[Any]], seed: int) -> None:
        super().__init__(values, seed=seed)
        self.size = math.prod(len(points) for points in values.values())

    def taken(self, study: optuna.Study) -> set[int]:
        """Grid points of the study's trials."""
        points = map(grid_point, study.get_trials(deepcopy=False))
        return {point for point in points if point is not None}

    def is_exhausted(self, study: optuna.Study) -> bool:
        """Return True if every point has a trial."""
        return len(self.taken(study)) >= self.size

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if grid_point(trial) is None and not is_enqueued(trial):
            give_grid_point(self, study, trial, min(set(range(self.size)) - self.taken(study)))

    def after_trial(self, *_: Any) -> None:
        """Do nothing: `is_exhausted` decides when the search ends."""
