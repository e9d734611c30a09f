"""Random search."""

from __future__ import annotations

from optuna.samplers import RandomSampler

from weightsearch.search.samplers.sampler import MakeSampler, trial_seed


def random() -> MakeSampler:
    """Random search: each value is drawn uniformly from its range, on the log scale where the range has one."""
    return lambda seed, number, _: RandomSampler(seed=trial_seed(seed, number))
