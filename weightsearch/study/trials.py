"""Reading a study's trials: states, epochs, metrics, terms, gradients, pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final, NamedTuple

import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from weightsearch.config import StudyConfig
from weightsearch.config.study import parse_stored
from weightsearch.errors import CALL, StoreError, called
from weightsearch.records import (
    METRIC,
    TERM_GROUPS,
    Picture,
    TermRecord,
    joined,
    parts,
    pixel_warnings,
    rows_at,
    term_records,
)
from weightsearch.study import optuna_internals, tables
from weightsearch.study.database import Database

KEPT: Final = "kept_epoch"  # user attribute, under early stopping: the epoch whose network is the trial's


class TrialRow(NamedTuple):
    """A trial's number, Optuna's id and state."""

    number: int
    trial_id: int
    state: TrialState


class StudyTrials:
    """Trials of a study, addressed by number. config: the study file's content, as stored. call: study file and
    overrides, for commands in messages. joined: whether this driver joined others."""

    call: tuple[str, ...] = CALL
    joined = False

    def __init__(self, database: Database, study: optuna.Study, config: Mapping[str, Any]) -> None:
        self.database = database
        self.study = study
        self.study_id: int = optuna_internals.study_id(study)
        self.config = config

    @cached_property
    def study_config(self) -> StudyConfig:
        """Study file as of the study's creation, parsed without access to data or plug-ins."""
        return parse_stored(f"the study {self.study.study_name!r} in {self.database.name}", self.config)

    def how_to_go_on(self) -> str:
        """Command that continues the study; without `--force-new`, since the study exists now."""
        return called(self.call, "run", *(["--join"] if self.joined else []))

    @property
    def storage(self) -> BaseStorage:
        """Optuna's view of the study's trials."""
        return optuna_internals.storage_of(self.study)

    def trials(self) -> list[FrozenTrial]:
        with self._errors():
            return self.study.get_trials(deepcopy=False)

    def trial(self, number: int) -> FrozenTrial:
        with self._errors():
            return self.storage.get_trial(self.trial_id(number))

    def states(self) -> list[TrialRow]:
        """States of all trials, sorted by number; much faster than `trials`."""
        table = self.database.optuna_table("trials")
        columns = (table.c.number, table.c.trial_id, table.c.state)
        query = sa.select(*columns).where(table.c.study_id == self.study_id).order_by(table.c.number)
        with self.database.reading() as connection:
            return [TrialRow(row[0], row[1], TrialState[str(row[2])]) for row in connection.execute(query)]

    def state(self, number: int) -> TrialState:
        table = self.database.optuna_table("trials")
        with self.database.reading() as connection:
            name = connection.scalar(sa.select(table.c.state).where(table.c.trial_id == self.trial_id(number)))
            return TrialState[str(name)]

    def epochs(self) -> dict[int, int]:
        """Trial number -> number of stored epochs, for trials with epochs."""
        table, trials = tables.epochs, self.database.optuna_table("trials")
        query = (
            sa.select(trials.c.number, sa.func.max(table.c.epoch))
            .join(table, table.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == self.study_id)
            .group_by(trials.c.number)
        )
        with self.database.reading() as connection:
            return {number: epoch for number, epoch in connection.execute(query)}  # noqa: C416 - rows, not pairs

    def epoch_that_counts(self, number: int) -> int:
        """Epoch whose network and metrics represent the trial: the last, or under early stopping the best; 0 without
        epochs."""
        if epoch := self.trial(number).user_attrs.get(KEPT):
            return int(epoch)
        mine = tables.epochs.c.trial_id == self.trial_id(number)
        with self.database.reading() as connection:
            return int(connection.scalar(sa.select(sa.func.max(tables.epochs.c.epoch)).where(mine)) or 0)

    def curve(self, number: int, metric: str) -> list[float]:
        """A metric on the validation split at each epoch of a trial; NaN if not finite."""
        table = tables.measurements
        mine = (table.c.trial_id == self.trial_id(number)) & in_group(METRIC.name)
        query = sa.select(table.c.value).where(mine, table.c.name == joined("validation", metric))
        with self.database.reading() as connection:
            return [_or_nan(value) for value in connection.scalars(query.order_by(table.c.epoch))]

    def losses_at(self, epoch: int) -> dict[int, list[float]]:
        """Trial number -> objectives on the validation split after an epoch, negated where higher is better, for all
        trials that reached the epoch, of any state; NaN if not finite."""
        signs = {
            joined("validation", name): 1.0 if way == "minimize" else -1.0
            for name, way in self.config["objectives"].items()
        }
        table = tables.measurements
        losses: dict[int, dict[str, float]] = {}
        where = in_group(METRIC.name) & (table.c.epoch == epoch) & table.c.name.in_(list(signs))
        for number, name, value in self._of_trials(table, ("name", "value"), where):
            losses.setdefault(number, {})[name] = signs[name] * _or_nan(value)
        return {number: [row.get(name, math.nan) for name in signs] for number, row in losses.items()}

    def measurements(self, number: int, *groups: str) -> dict[str, dict[str, float]]:
        """Group -> name -> value, of a trial at the epoch that counts; NaN if not finite."""
        table = tables.measurements
        mine = (table.c.trial_id == self.trial_id(number)) & table.c.group.in_(groups)
        mine &= table.c.epoch == self.epoch_that_counts(number)
        query = sa.select(table.c.group, table.c.name, table.c.value).where(mine)
        values: dict[str, dict[str, float]] = {group: {} for group in groups}
        with self.database.reading() as connection:
            for group, name, value in connection.execute(query):
                values[group][name] = _or_nan(value)
        return values

    def metrics(self, number: int, split: str = "validation") -> dict[str, float]:
        """Metrics of a trial on a split at the epoch that counts; empty without any."""
        return rows_at(self.measurements(number, METRIC.name)[METRIC.name], split)

    def tested(self) -> dict[int, dict[str, float]]:
        """Trial number -> metrics on the test split, for trials with test metrics."""
        metrics: dict[int, dict[str, float]] = {}
        where = in_group(METRIC.name, "test")
        for number, name, value in self._of_trials(tables.measurements, ("name", "value"), where):
            metrics.setdefault(number, {})[parts(name)[1]] = _or_nan(value)
        return metrics

    def retrained(self) -> dict[int, dict[str, dict[str, dict[int, float]]]]:
        """Trial number -> split -> metric -> seed -> value, of trials that were trained again with new seeds."""
        values: dict[int, dict[str, dict[str, dict[int, float]]]] = {}
        columns = ("split", "metric", "seed", "value")
        for number, split, metric, seed, value in self._of_trials(tables.confirmations, columns):
            if value is not None:
                values.setdefault(number, {}).setdefault(split, {}).setdefault(metric, {})[seed] = value
        return values

    def _of_trials(
        self, table: sa.Table, columns: Sequence[str], where: sa.ColumnElement[bool] | None = None
    ) -> list[tuple[Any, ...]]:
        """Rows of the study in a table, each with the trial number first."""
        trials = self.database.optuna_table("trials")
        query = (
            sa.select(trials.c.number, *(table.c[name] for name in columns))
            .join(table, table.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == self.study_id)
            .order_by(trials.c.number)
        )
        if where is not None:
            query = query.where(where)
        with self.database.reading() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def terms(self, number: int) -> dict[str, TermRecord]:
        """Loss terms of a trial at the epoch that counts, in the order of the study file; NaN if not finite."""
        records = term_records(self.measurements(number, *TERM_GROUPS))
        return {name: records[name] for name in self.study_config.base.loss if name in records}

    def norms(self, number: int) -> dict[str, tuple[int, dict[str, float]]]:
        """Gradient norms of a trial's weighted terms: place of measurement -> (last epoch measured, term -> norm)."""
        table = tables.measurements
        mine = (table.c.trial_id == self.trial_id(number)) & in_group("gradient")
        query = sa.select(table.c.name, table.c.epoch, table.c.value).where(mine).order_by(table.c.epoch)
        norms: dict[str, tuple[int, dict[str, float]]] = {}
        with self.database.reading() as connection:
            for name, epoch, norm in connection.execute(query):
                where, term = parts(name)
                if where not in norms or norms[where][0] < epoch:
                    norms[where] = (epoch, {})
                norms[where][1][term] = _or_nan(norm)
        return norms

    def pixel_warnings(self, number: int) -> list[str]:
        """Warnings about loss terms that had no valid pixel at many steps of the epoch that counts."""
        epoch = self.epoch_that_counts(number)
        table = tables.epochs
        query = sa.select(table.c.steps).where(table.c.trial_id == self.trial_id(number), table.c.epoch == epoch)
        with self.database.reading() as connection:
            steps = connection.scalar(query) or 0
        rows = self.measurements(number, "without_pixels", "weight")
        return pixel_warnings(rows["without_pixels"], steps, rows["weight"])

    def protocol_and_environment(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Protocol and environment of a trial, as plain values; empty for a trial that never reported."""
        join = tables.trials.join(tables.environments)
        query = sa.select(tables.trials.c.protocol, tables.environments.c.content).select_from(join)
        with self.database.reading() as connection:
            row = connection.execute(query.where(tables.trials.c.trial_id == self.trial_id(number))).first()
            return ({}, {}) if row is None else (row[0], row[1])

    def hosts(self) -> dict[int, str]:
        """Running trial -> host of its last report; before the first report, the host of its driver."""
        trials = self.database.optuna_table("trials")
        running = (trials.c.study_id == self.study_id) & (trials.c.state == TrialState.RUNNING.name)
        join = (
            trials.outerjoin(tables.trials, tables.trials.c.trial_id == trials.c.trial_id)
            .outerjoin(tables.environments)
            .outerjoin(tables.assignments, tables.assignments.c.trial_id == trials.c.trial_id)
            .outerjoin(tables.drivers, tables.drivers.c.driver_id == tables.assignments.c.driver_id)
        )
        columns = (trials.c.number, tables.environments.c.content, tables.drivers.c.process)
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(*columns).select_from(join).where(running)).all()
        hosts = {}
        for number, environment, process in rows:
            if environment:
                hosts[int(number)] = str(environment["host"])
            elif process:
                hosts[int(number)] = f"{process['owner'].rpartition('@')[2]} (its driver's host)"
        return hosts

    def cpus(self) -> set[str]:
        """CPU models on which trials were trained without a GPU, where recorded."""
        mine = sa.select(tables.trials.c.environment_id).where(tables.trials.c.trial_id.in_(self._trial_ids()))
        query = sa.select(tables.environments.c.content).where(tables.environments.c.environment_id.in_(mine))
        with self.database.reading() as connection:
            environments = connection.scalars(query)
            return {
                environment["cpu"]
                for environment in environments
                if environment.get("cpu") and environment["device"].startswith("cpu")
            }

    def _trial_ids(self) -> sa.Select[tuple[int]]:
        table = self.database.optuna_table("trials")
        return sa.select(table.c.trial_id).where(table.c.study_id == self.study_id)

    def pictures(self, number: int) -> list[Picture]:
        """Pictures of a trial's depth and its error, with the pictures shared by all trials; sorted by frame."""
        with self.database.reading() as connection:
            return read_pictures(connection, self.study_id, number)

    def trial_id(self, number: int) -> int:
        """Optuna's id of a trial, which the tables use."""
        with self._errors():
            return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with self.database.errors():
                yield
        except KeyError:  # Optuna's error for a missing study or trial
            raise self._deleted() from None

    def _deleted(self) -> StoreError:
        return StoreError(f"{self.database.name}: the study {self.study.study_name!r} was deleted")

    def _is_there(self, connection: sa.Connection) -> bool:
        table = self.database.optuna_table("studies")
        return connection.scalar(sa.select(table.c.study_id).where(table.c.study_id == self.study_id)) is not None


def in_group(group: str, *first: str) -> sa.ColumnElement[bool]:
    """Condition for rows of tables.measurements in a group. first: keys that the names begin with."""
    table = tables.measurements
    mine = table.c.group == group
    return mine & table.c.name.startswith(joined(*first, ""), autoescape=True) if first else mine


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def read_pictures(connection: sa.Connection, study_id: int, number: int) -> list[Picture]:
    """See StudyStore.pictures."""
    table = tables.pictures
    columns = [table.c[name] for name in ("frame", "kind", "name", "low", "high", "content")]
    mine = (table.c.study_id == study_id) & table.c.number.in_([number, tables.OF_ALL])
    rows = connection.execute(
        sa.select(table.c.number, *columns).where(mine).order_by(table.c.frame, table.c.number)
    ).all()
    own = {row.frame for row in rows if row.number == number}
    return [Picture(*row[1:]) for row in rows if row.frame in own]
