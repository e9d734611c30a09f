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

KEPT: Final = "kept_epoch"  # under early stopping: the epoch whose network is the trial's


class TrialRow(NamedTuple):
    """A trial's number, Optuna's id and state."""

    number: int
    trial_id: int
    state: TrialState


class StudyTrials:
    """The trials of one study of a database, addressed by their numbers. config: what the database keeps of the study
    file. call: the study file and the overrides that commands are to be given again with.
    joined: whether this driver joined others."""

    call: tuple[str, ...] = CALL
    joined = False

    def __init__(self, database: Database, study: optuna.Study, config: Mapping[str, Any]) -> None:
        self.database = database
        self.study = study
        self.study_id: int = optuna_internals.study_id(study)
        self.config = config

    @cached_property
    def study_config(self) -> StudyConfig:
        """The study file as it was when the study began, without a look at its data or plug-ins."""
        return parse_stored(f"the study {self.study.study_name!r} in {self.database.name}", self.config)

    def how_to_go_on(self) -> str:
        """The command that continues the study; `--force-new` is left out, since the study is there now."""
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
        """The states of all trials, by number; much quicker than `trials`."""
        table = self.database.optuna_table("trials")
        columns = (table.c.number, table.c.trial_id, table.c.state)
        query = sa.select(*columns).where(table.c.study_id == self.study_id).order_by(table.c.number)
        with self.database.reading() as connection:
            return [TrialRow(row[0], row[1], TrialState[str(row[2])]) for row in connection.execute(query)]

    def state(self, number: int) -> TrialState:
        table = self.database.optuna_table("trials")
        with self.database.reading() as connection:
            found = connection.scalar(sa.select(table.c.state).where(table.c.trial_id == self.trial_id(number)))
            return TrialState[str(found)]

    def epochs(self) -> dict[int, int]:
        """Trial number -> epochs stored, for trials that have any."""
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
        """The epoch whose network and metrics are the trial's: its last, or under early stopping the best; 0 if it has
        none."""
        if kept := self.trial(number).user_attrs.get(KEPT):
            return int(kept)
        mine = tables.epochs.c.trial_id == self.trial_id(number)
        with self.database.reading() as connection:
            return int(connection.scalar(sa.select(sa.func.max(tables.epochs.c.epoch)).where(mine)) or 0)

    def curve(self, number: int, metric: str) -> list[float]:
        """A metric on the validation split at each of a trial's epochs, NaN where it was not finite."""
        table = tables.measurements
        mine = (table.c.trial_id == self.trial_id(number)) & in_group(METRIC.name)
        query = sa.select(table.c.value).where(mine, table.c.name == joined("validation", metric))
        with self.database.reading() as connection:
            return [_or_nan(value) for value in connection.scalars(query.order_by(table.c.epoch))]

    def losses_at(self, epoch: int) -> dict[int, list[float]]:
        """The losses of every trial that was trained so far, of any state, by number: the objectives on the validation
        split after that epoch, turned so that lower is better; NaN where one was not finite."""
        signs = {
            joined("validation", name): 1.0 if way == "minimize" else -1.0
            for name, way in self.config["objectives"].items()
        }
        table = tables.measurements
        found: dict[int, dict[str, float]] = {}
        where = in_group(METRIC.name) & (table.c.epoch == epoch) & table.c.name.in_(list(signs))
        for number, name, value in self._of_trials(table, ("name", "value"), where):
            found.setdefault(number, {})[name] = signs[name] * _or_nan(value)
        return {number: [row.get(name, math.nan) for name in signs] for number, row in found.items()}

    def measurements(self, number: int, *groups: str) -> dict[str, dict[str, float]]:
        """A trial's rows of these groups at the epoch that counts, by group; NaN where a value was not finite."""
        table = tables.measurements
        mine = (table.c.trial_id == self.trial_id(number)) & table.c.group.in_(groups)
        mine &= table.c.epoch == self.epoch_that_counts(number)
        query = sa.select(table.c.group, table.c.name, table.c.value).where(mine)
        found: dict[str, dict[str, float]] = {group: {} for group in groups}
        with self.database.reading() as connection:
            for group, name, value in connection.execute(query):
                found[group][name] = _or_nan(value)
        return found

    def metrics(self, number: int, split: str = "validation") -> dict[str, float]:
        """A trial's metrics on a split at the epoch that counts; empty if there are none."""
        return rows_at(self.measurements(number, METRIC.name)[METRIC.name], split)

    def tested(self) -> dict[int, dict[str, float]]:
        """Trial number -> metrics on the test split, for trials that have any."""
        found: dict[int, dict[str, float]] = {}
        where = in_group(METRIC.name, "test")
        for number, name, value in self._of_trials(tables.measurements, ("name", "value"), where):
            found.setdefault(number, {})[parts(name)[1]] = _or_nan(value)
        return found

    def fresh(self) -> dict[int, dict[str, dict[str, dict[int, float]]]]:
        """Trial number -> split -> metric -> seed -> value, of trials that were trained again with new seeds."""
        found: dict[int, dict[str, dict[str, dict[int, float]]]] = {}
        columns = ("split", "metric", "seed", "value")
        for number, split, metric, seed, value in self._of_trials(tables.confirmations, columns):
            if value is not None:
                found.setdefault(number, {}).setdefault(split, {}).setdefault(metric, {})[seed] = value
        return found

    def _of_trials(
        self, table: sa.Table, columns: Sequence[str], where: sa.ColumnElement[bool] | None = None
    ) -> list[tuple[Any, ...]]:
        """The study's rows of a table, each with its trial's number first."""
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
        """A trial's loss terms at the epoch that counts, in the order of the study file; NaN where one was not
        finite."""
        found = term_records(self.measurements(number, *TERM_GROUPS))
        return {name: found[name] for name in self.study_config.base.loss if name in found}

    def norms(self, number: int) -> dict[str, tuple[int, dict[str, float]]]:
        """The weighted terms' gradient norms of a trial by place: the last epoch with a measurement there, and the norm
        by term."""
        table = tables.measurements
        mine = (table.c.trial_id == self.trial_id(number)) & in_group("gradient")
        query = sa.select(table.c.name, table.c.epoch, table.c.value).where(mine).order_by(table.c.epoch)
        found: dict[str, tuple[int, dict[str, float]]] = {}
        with self.database.reading() as connection:
            for name, epoch, norm in connection.execute(query):
                place, term = parts(name)
                if place not in found or found[place][0] < epoch:
                    found[place] = (epoch, {})
                found[place][1][term] = _or_nan(norm)
        return found

    def pixel_warnings(self, number: int) -> list[str]:
        """A sentence for each loss term of a trial that had no pixel to learn from at many steps of the epoch that
        counts."""
        epoch = self.epoch_that_counts(number)
        table = tables.epochs
        query = sa.select(table.c.steps).where(table.c.trial_id == self.trial_id(number), table.c.epoch == epoch)
        with self.database.reading() as connection:
            steps = connection.scalar(query) or 0
        found = self.measurements(number, "without_pixels", "weight")
        return pixel_warnings(found["without_pixels"], steps, found["weight"])

    def protocol_and_environment(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """As plain values; empty for a trial that never reported."""
        join = tables.trials.join(tables.environments)
        query = sa.select(tables.trials.c.protocol, tables.environments.c.content).select_from(join)
        with self.database.reading() as connection:
            row = connection.execute(query.where(tables.trials.c.trial_id == self.trial_id(number))).first()
            return ({}, {}) if row is None else (row[0], row[1])

    def hosts(self) -> dict[int, str]:
        """Running trial -> the host of its last report or, before the first, the host of the driver that has it."""
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
        found = {}
        for number, environment, process in rows:
            if environment:
                found[int(number)] = str(environment["host"])
            elif process:
                found[int(number)] = f"{process['owner'].rpartition('@')[2]} (its driver's host)"
        return found

    def cpus(self) -> set[str]:
        """The CPUs on which trials of the study were trained without a GPU, as far as they were noted."""
        mine = sa.select(tables.trials.c.environment_id).where(tables.trials.c.trial_id.in_(self._trial_ids()))
        query = sa.select(tables.environments.c.content).where(tables.environments.c.environment_id.in_(mine))
        with self.database.reading() as connection:
            found = connection.scalars(query)
            return {one["cpu"] for one in found if one.get("cpu") and one["device"].startswith("cpu")}

    def _trial_ids(self) -> sa.Select[tuple[int]]:
        table = self.database.optuna_table("trials")
        return sa.select(table.c.trial_id).where(table.c.study_id == self.study_id)

    def pictures(self, number: int) -> list[Picture]:
        """The pictures of a trial's depth and its error, with those that all trials share; by frame."""
        with self.database.reading() as connection:
            return read_pictures(connection, self.study_id, number)

    def trial_id(self, number: int) -> int:
        """Optuna's id of a trial, by which the tables go."""
        with self._errors():
            return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, number)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with self.database.errors():
                yield
        except KeyError:  # Optuna's word for what is not there any more
            raise self._deleted() from None

    def _deleted(self) -> StoreError:
        return StoreError(f"{self.database.name}: the study {self.study.study_name!r} was deleted")

    def _is_there(self, connection: sa.Connection) -> bool:
        table = self.database.optuna_table("studies")
        return connection.scalar(sa.select(table.c.study_id).where(table.c.study_id == self.study_id)) is not None


def in_group(group: str, *first: str) -> sa.ColumnElement[bool]:
    """The rows of tables.measurements that belong to a group and whose names begin with these keys."""
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
