"""The importance of each searched value for the objective."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from scipy.stats import rankdata

from weightsearch.errors import counted

LEAST: Final = 10  # trials that importances need
SHUFFLES: Final = 999  # permutations of the test against chance
MOST: Final = 200  # trials that fANOVA uses at most, to limit its time

Method = str
METHODS: Final = ("PED-ANOVA", "fANOVA")


@dataclass(frozen=True)
class Importances:
    """shares: method -> parameter -> share, adding up to 1; the most important first. trials: the number of trials
    inside the space. used: method -> the number of trials it used. why: the reason if there are no importances.
    above_chance: the parameters whose effect exceeds chance; the others' shares may be noise, since shares always add
    up to 1."""

    shares: dict[Method, dict[str, float]]
    trials: int
    why: str | None = None
    above_chance: frozenset[str] = frozenset()
    used: dict[Method, int] = field(default_factory=dict)


def importances(
    params: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    space: Mapping[str, BaseDistribution],
    *,
    minimize: bool,
    seed: int = 0,
) -> Importances:
    """The importance of each parameter by two methods. PED-ANOVA (Watanabe et al. 2023): parameters that distinguish
    the best tenth of the trials. fANOVA (Hutter et al. 2014): parameters that explain the variance of all trials, by a
    random forest. params, values: of completed trials, as Optuna stores them; trials without a value for every
    parameter of the space, such as baselines outside it, are left out."""
    usable = [
        (chosen, value)
        for chosen, value in zip(params, values, strict=True)
        if all(name in chosen and _inside(space[name], chosen[name]) for name in space)
    ]
    if len(usable) < LEAST:
        return Importances(
            {},
            len(usable),
            f"{len(usable)} of {counted(len(values), 'trial')} inside the searched ranges; at least {LEAST} are needed",
        )
    if len({value for _, value in usable}) == 1:
        return Importances({}, len(usable), "all trials have the same value")
    some = [usable[index] for index in np.linspace(0, len(usable) - 1, min(MOST, len(usable))).round().astype(int)]
    parts = {"PED-ANOVA": usable, "fANOVA": some}
    shares: dict[Method, dict[str, float]] = {}
    for method, part in parts.items():
        if method_shares := _shares(method, part, space, minimize=minimize, seed=seed):
            shares[method] = method_shares
    if not shares:
        return Importances({}, len(usable), "the trials' values hardly differ")
    used = {method: len(parts[method]) for method in shares}
    return Importances(shares, len(usable), above_chance=_above_chance(usable, space, seed), used=used)


def _shares(
    method: Method,
    trials: Sequence[tuple[Mapping[str, Any], float]],
    space: Mapping[str, BaseDistribution],
    *,
    minimize: bool,
    seed: int,
) -> dict[str, float]:
    """The shares by one method; empty if the method finds no variance to explain."""
    evaluator = PedAnovaImportanceEvaluator() if method == "PED-ANOVA" else FanovaImportanceEvaluator(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of experimental parts
        try:
            study = _study(trials, space, minimize=minimize)
            raw_shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (RuntimeError, ValueError):  # no variance in any tree
            return {}
    return {name: float(share) for name, share in raw_shares.items()}


def _above_chance(
    trials: Sequence[tuple[Mapping[str, Any], float]], space: Mapping[str, BaseDistribution], seed: int
) -> frozenset[str]:
    """The parameters that explain the ranks of the values (by a parabola, or by a mean for each choice) better than in
    95 % of 999 random permutations of the values."""
    ranks = rankdata([value for _, value in trials])  # equal values share their mean rank
    ranks -= ranks.mean()
    numbers = np.random.default_rng(seed)
    dealt = np.stack([ranks, *(numbers.permutation(ranks) for _ in range(SHUFFLES))], axis=1)
    influential: set[str] = set()
    for name, distribution in space.items():
        basis, _ = np.linalg.qr(_design([params[name] for params, _ in trials], distribution))
        explained = ((basis.T @ dealt) ** 2).sum(axis=0)
        if (explained[1:] >= explained[0]).mean() < 0.05:
            influential.add(name)
    return frozenset(influential)


def _design(values: Sequence[Any], distribution: BaseDistribution) -> NDArray[np.float64]:
    """Design matrix of a centred parabola in a numeric parameter, or of a mean for each choice."""
    if isinstance(distribution, CategoricalDistribution):
        columns = [np.array([value == choice for value in values], dtype=float) for choice in distribution.choices[1:]]
    else:
        x = np.asarray(values, dtype=float)
        x = np.log(x) if getattr(distribution, "log", False) else x
        x = (x - x.mean()) / (x.std() or 1.0)
        columns = [x, x**2]
    design = np.stack([column - column.mean() for column in columns], axis=1) if columns else np.zeros((len(values), 1))
    return design[:, np.ptp(design, axis=0) > 0] if np.ptp(design) > 0 else np.zeros((len(values), 1))


def _study(
    trials: Sequence[tuple[Mapping[str, Any], float]], space: Mapping[str, BaseDistribution], *, minimize: bool
) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="minimize" if minimize else "maximize")
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={name: chosen[name] for name in space}, distributions=dict(space), value=value
                )
                for chosen, value in trials
            ]
        )
    finally:
        optuna.logging.set_verbosity(verbosity)
    return study


def _inside(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:
        return False
