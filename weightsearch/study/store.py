"""A study in its database, to be read; what writes its trials is writer.py."""

from __future__ import annotations

import math
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from weightsearch.errors import StoreError
from weightsearch.records import (
    HEADS,
    WITHOUT_PIXELS,
    Direction,
    Picture,
    TermRecord,
    heads_of,
    pixel_warnings,
    several_units,
)
from weightsearch.study import tables
from weightsearch.study.database import Database, Mode
from weightsearch.study.schema import foreign_study

BASELINE: Final = "baseline"
REASON: Final = "reason"
KEPT: Final = "kept_epoch"  # under early stopping: the epoch whose network is the trial's
UID: Final = "uid"
CONTENT: Final = "data"  # what the data set held when the study began
NAIVE: Final = "naive"  # objectives of trivial baselines that ignore the image, on the validation split
NAIVE_ON_TEST: Final = "naive_test"  # the same on the test split; studies of older versions do not have it
MEASURED: Final = (CONTENT, NAIVE, NAIVE_ON_TEST)  # what drivers note of a study's data set


class TrialRow(NamedTuple):
    """A trial by its number and Optuna's id."""

    number: int
    trial_id: int
    state: TrialState


class StudyStore:
    """One study of a database. Trials are addressed by their number."""

    def __init__(self, database: Database, study: optuna.Study, spec: Mapping[str, Any]) -> None:
        self.database = database
        self.study = study
        self.study_id: int = study._study_id
        self.spec = spec

    @classmethod
    def create(
        cls,
        url: str,
        name: str,
        directions: Sequence[Direction],
        spec: Mapping[str, Any],
        *,
        new: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> StudyStore:
        """Open a study, or make it if it is not there (new: raise StoreError if it is).

        spec: plain values, kept with the study: `tree` (the configuration's sections with ranges), `baselines`,
        `objectives`. The stored one wins: it is what the trials were made from.
        """
        with _closed_if_it_fails(Database(url, mode="create", clock=clock, study=name)) as database:
            return cls.create_in(database, name, directions, spec, new=new)

    @classmethod
    def create_in(
        cls,
        database: Database,
        name: str,
        directions: Sequence[Direction],
        spec: Mapping[str, Any],
        *,
        new: bool = False,
    ) -> StudyStore:
        """As `create`, in a database that is open."""
        with database.writing() as connection:
            connection.execute(sa.select(tables.schema).with_for_update())  # one that makes studies at a time
            if name not in optuna.get_all_study_names(database.storage):
                _make(connection, database, name, directions, {**spec, UID: uuid.uuid4().hex[:12]})
            elif new:
                raise StoreError(f"{database.name}: the study {name!r} is there already; --set name={name} goes on")
        return cls._load(database, name)

    @classmethod
    def open(cls, url: str, name: str, *, mode: Mode = "read") -> StudyStore:
        """Open a study that is there. Raises StoreError that lists the database's studies if it is not."""
        with _closed_if_it_fails(Database(url, mode=mode)) as database:
            return cls._load(database, name)

    @classmethod
    def _load(cls, database: Database, name: str) -> StudyStore:
        with database.errors():
            known = optuna.get_all_study_names(database.storage)
            if name not in known:
                found = ", ".join(known) or "none"
                raise StoreError(f"{database.name}: there is no study {name!r}; studies there: {found}")
            study = optuna.load_study(storage=database.storage, study_name=name)
        with database.reading() as connection:
            mine = tables.studies.c.study_id == study._study_id
            spec = connection.scalar(sa.select(tables.studies.c.spec).where(mine))
        if spec is None:
            raise foreign_study(database.name, name)
        return cls(database, study, spec)

    @property
    def uid(self) -> str:
        """What no other study has, another of the same name included: what it keeps outside the database goes by it."""
        return str(self.spec[UID])

    @property
    def storage(self) -> BaseStorage:
        """Optuna's view of the study's trials."""
        return self.study._storage

    def keep(self, connection: sa.Connection, what: str, now: Mapping[str, Any]) -> Mapping[str, Any]:
        """Note what was measured of the data set, one of MEASURED, if that was not done before. Returns what was noted
        first."""
        mine = tables.studies.c.study_id == self.study_id
        spec = connection.scalar(sa.select(tables.studies.c.spec).where(mine)) or {}
        if what not in spec:
            spec = {**spec, what: dict(now)}
            connection.execute(sa.update(tables.studies).where(mine).values(spec=spec))
        self.spec = {**self.spec, what: spec[what]}
        found: Mapping[str, Any] = spec[what]
        return found

    def note(self, what: str, now: Mapping[str, Any]) -> None:
        """As `keep`, in a transaction of its own."""
        with self.database.writing() as connection:
            self.lock(connection)
            self.keep(connection, what, now)

    def close(self) -> None:
        self.database.close()

    def lock(self, connection: sa.Connection) -> None:
        """Let nobody else write the study until the transaction ends. Raises StoreError if it was deleted."""
        mine = tables.studies.c.study_id == self.study_id
        spec = connection.scalar(sa.select(tables.studies.c.spec).where(mine).with_for_update())
        if spec is None or spec[UID] != self.uid or not self._is_there(connection):
            raise self._deleted()

    def remove_if_empty(self) -> None:
        """Remove the study if it has no trial and nobody runs it."""
        runs = sa.select(tables.drivers.c.driver_id).where(tables.drivers.c.study_id == self.study_id)
        trials = self.database.optuna_table("trials")
        has_trial = sa.select(trials.c.trial_id).where(trials.c.study_id == self.study_id)
        with self.database.writing() as connection:
            self.lock(connection)
            if connection.scalar(runs.limit(1)) is None and connection.scalar(has_trial.limit(1)) is None:
                optuna.delete_study(study_name=self.study.study_name, storage=self.database.storage)
                _sweep(connection, self.database, self.study_id)

    def confirm(self, number: int, seed: int, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Store what a trial's values gave when they were trained anew with a seed of their own: split -> metric ->
        value. May be repeated."""
        table = tables.confirmations
        with self.database.writing() as connection:
            self.lock(connection)
            trial_id = self.trial_id(number)
            connection.execute(sa.delete(table).where(table.c.trial_id == trial_id, table.c.seed == seed))
            rows = [
                {"trial_id": trial_id, "seed": seed, "split": split, "metric": name, "value": value}
                for split, found in metrics.items()
                for name, value in found.items()
                if math.isfinite(value)
            ]
            if rows:
                connection.execute(sa.insert(table), rows)

    def forget(self) -> None:
        """Read everything anew: what Optuna remembers may have been rolled back."""
        self.study._storage = optuna.storages.get_storage(self.database.storage)
        self.study._thread_local.cached_all_trials = None

    # --- reading

    def trials(self) -> list[FrozenTrial]:
        with self._errors():
            return self.study.get_trials(deepcopy=False)

    def trial(self, number: int) -> FrozenTrial:
        with self._errors():
            return self.storage.get_trial(self.trial_id(number))

    def states(self) -> list[TrialRow]:
        """Of all trials, by number; much quicker than `trials`."""
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
        table = tables.metrics
        mine = (table.c.trial_id == self.trial_id(number)) & (table.c.split == "validation")
        query = sa.select(table.c.value).where(mine, table.c.metric == metric).order_by(table.c.epoch)
        with self.database.reading() as connection:
            return [float("nan") if value is None else value for value in connection.scalars(query)]

    def losses_at(self, epoch: int) -> dict[int, list[float]]:
        """Of every trial that was trained so far, whatever became of it, by number: the objectives on the validation
        split after that epoch, turned so that lower is better; NaN where one was not finite."""
        signs = {name: 1.0 if way == "minimize" else -1.0 for name, way in self.spec["objectives"].items()}
        table, trials = tables.metrics, self.database.optuna_table("trials")
        query = (
            sa.select(trials.c.number, table.c.metric, table.c.value)
            .join(table, table.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == self.study_id, table.c.epoch == epoch, table.c.split == "validation")
            .where(table.c.metric.in_(list(signs)))
            .order_by(trials.c.number)
        )
        found: dict[int, dict[str, float]] = {}
        with self.database.reading() as connection:
            for number, metric, value in connection.execute(query):
                found.setdefault(number, {})[metric] = math.nan if value is None else signs[metric] * value
        return {number: [row.get(name, math.nan) for name in signs] for number, row in found.items()}

    def metrics(self, number: int, split: str = "validation") -> dict[str, float]:
        """A trial's metrics on a split at the epoch that counts; empty if there are none."""
        table = tables.metrics
        mine = (table.c.trial_id == self.trial_id(number)) & (table.c.split == split)
        query = sa.select(table.c.metric, table.c.value).where(mine, table.c.epoch == self.epoch_that_counts(number))
        with self.database.reading() as connection:
            return {row.metric: row.value for row in connection.execute(query)}

    def tested(self) -> dict[int, dict[str, float]]:
        """Trial number -> metrics on the test split, for trials that have any."""
        found: dict[int, dict[str, float]] = {}
        for number, metric, value in self._of_trials(tables.metrics, ("metric", "value"), split="test"):
            found.setdefault(number, {})[metric] = math.nan if value is None else value
        return found

    def fresh(self) -> dict[int, dict[str, dict[str, dict[int, float]]]]:
        """Trial number -> split -> metric -> seed -> value, of trials that were trained again with fresh seeds."""
        found: dict[int, dict[str, dict[str, dict[int, float]]]] = {}
        for number, split, metric, seed, value in self._of_trials(
            tables.confirmations, ("split", "metric", "seed", "value")
        ):
            if value is not None:
                found.setdefault(number, {}).setdefault(split, {}).setdefault(metric, {})[seed] = value
        return found

    def _of_trials(self, table: sa.Table, columns: Sequence[str], split: str | None = None) -> list[tuple[Any, ...]]:
        """The study's rows of a table, each with its trial's number first."""
        trials = self.database.optuna_table("trials")
        query = (
            sa.select(trials.c.number, *(table.c[name] for name in columns))
            .join(table, table.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == self.study_id)
            .order_by(trials.c.number)
        )
        if split is not None:
            query = query.where(table.c.split == split)
        with self.database.reading() as connection:
            return [tuple(row) for row in connection.execute(query)]

    def terms(self, number: int) -> dict[str, TermRecord]:
        """A trial's loss terms at the epoch that counts, in the order of the study file; NaN where one was not
        finite."""
        table = tables.terms
        columns = [table.c[name] for name in ("term", "value", "weight", "contribution", "gradient")]
        mine = (table.c.trial_id == self.trial_id(number)) & (table.c.epoch == self.epoch_that_counts(number))
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(*columns).where(mine)).all()
        found = {row[0]: TermRecord(*(math.nan if value is None else value for value in row[1:])) for row in rows}
        return {name: found[name] for name in self.spec["tree"]["loss"] if name in found}

    def norms(self, number: int) -> dict[str, tuple[int, dict[str, float]]]:
        """The weighted terms' gradient norms of a trial by place: the last epoch with a measurement there, and the norm
        by term. Heads that may have several units are left out."""
        table = tables.gradients
        mine = table.c.trial_id == self.trial_id(number)
        if several_units(*heads_of(self.spec["tree"])):
            mine &= table.c.place != HEADS
        query = sa.select(table.c.place, table.c.epoch, table.c.term, table.c.norm).where(mine).order_by(table.c.epoch)
        found: dict[str, tuple[int, dict[str, float]]] = {}
        with self.database.reading() as connection:
            for place, epoch, term, norm in connection.execute(query):
                if place not in found or found[place][0] < epoch:
                    found[place] = (epoch, {})
                found[place][1][term] = math.nan if norm is None else norm
        return found

    def pixel_warnings(self, number: int) -> list[str]:
        """A sentence for each loss term of a trial that had no pixel to learn from at many steps of the epoch that
        counts."""
        epoch = self.epoch_that_counts(number)
        table = tables.epochs
        query = sa.select(table.c.steps).where(table.c.trial_id == self.trial_id(number), table.c.epoch == epoch)
        with self.database.reading() as connection:
            steps = connection.scalar(query) or 0
        counts = {term: int(count) for term, count in self.metrics(number, WITHOUT_PIXELS).items()}
        return pixel_warnings(counts, steps, {name: term.weight for name, term in self.terms(number).items()})

    def protocol_and_environment(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """As plain values; empty for a trial that never reported."""
        join = tables.trials.join(tables.environments)
        query = sa.select(tables.trials.c.protocol, tables.environments.c.content).select_from(join)
        with self.database.reading() as connection:
            row = connection.execute(query.where(tables.trials.c.trial_id == self.trial_id(number))).first()
            return ({}, {}) if row is None else (row[0], row[1])

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
        """Of a trial's depth and its error, with those of the same frames that all trials share; by frame."""
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


def _make(
    connection: sa.Connection,
    database: Database,
    name: str,
    directions: Sequence[Direction],
    spec: Mapping[str, Any],
) -> None:
    study = optuna.create_study(storage=database.storage, study_name=name, directions=list(directions))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(spec["objectives"]))
    _sweep(connection, database, study._study_id)
    connection.execute(sa.insert(tables.studies).values(study_id=study._study_id, spec=dict(spec)))


def _sweep(connection: sa.Connection, database: Database, new: int) -> None:
    """Remove rows of studies and trials that Optuna's tables no longer have, such as those deleted in its dashboard:
    their ids may be given again. new: the id of a study of which no row is to be kept either."""
    own_trials = sa.select(database.optuna_table("trials").c.trial_id)
    own_studies = sa.select(database.optuna_table("studies").c.study_id)
    for table in tables.PER_TRIAL:
        connection.execute(sa.delete(table).where(table.c.trial_id.not_in(own_trials)))
    for table in tables.PER_STUDY:
        gone = table.c.study_id.not_in(own_studies) | (table.c.study_id == new)
        connection.execute(sa.delete(table).where(gone))


@contextmanager
def _closed_if_it_fails(database: Database) -> Iterator[Database]:
    try:
        yield database
    except BaseException:
        database.close()
        raise
