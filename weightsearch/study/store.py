"""A study in its database: creation, opening, notes. trials.py reads its trials, writer.py writes them."""

from __future__ import annotations

import math
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import optuna
import sqlalchemy as sa

from weightsearch.errors import StoreError
from weightsearch.records import Direction
from weightsearch.study import tables
from weightsearch.study.database import Database, Mode
from weightsearch.study.migrations import foreign_study
from weightsearch.study.optuna_internals import read_anew, study_id
from weightsearch.study.trials import StudyTrials
from weightsearch.study.trials import read_pictures as read_pictures  # for dashboards

BASELINE: Final = "baseline"
REASON: Final = "reason"
UID: Final = "uid"
CONTENT: Final = "data"  # content of the dataset when the study began
NAIVE: Final = "naive"  # objectives of trivial baselines that ignore the image, on the validation split
NAIVE_ON_TEST: Final = "naive_test"  # the same on the test split; studies of older versions do not have it
WARNINGS: Final = "warnings"  # "lines": warnings of the last driver about the dataset
# Measurements of the dataset that drivers store with the study.
MEASURED: Final = (CONTENT, NAIVE, NAIVE_ON_TEST, WARNINGS)


class StudyStore(StudyTrials):
    """A study of a database."""

    @classmethod
    def create(
        cls,
        url: str,
        name: str,
        directions: Sequence[Direction],
        config: Mapping[str, Any],
        *,
        new: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> StudyStore:
        """Open a study, or create it if it does not exist. new: raise StoreError if it exists.

        config: plain values, stored with the study: `tree` (the configuration's sections with ranges), `baselines`,
        `objectives`. For an existing study the stored config is used, from which its trials were made.
        """
        with _closed_if_it_fails(Database(url, mode="create", clock=clock, study=name)) as database:
            return cls.create_in(database, name, directions, config, new=new)

    @classmethod
    def create_in(
        cls,
        database: Database,
        name: str,
        directions: Sequence[Direction],
        config: Mapping[str, Any],
        *,
        new: bool = False,
    ) -> StudyStore:
        """Like `create`, in an open database."""
        with database.writing() as connection:
            connection.execute(sa.select(tables.schema).with_for_update())  # only one driver creates studies at a time
            if name not in optuna.get_all_study_names(database.storage):
                _make(connection, database, name, directions, {**config, UID: uuid.uuid4().hex[:12]})
            elif new:
                raise StoreError(f"{database.name}: the study {name!r} exists already; --set name={name} resumes it")
        return cls._load(database, name)

    @classmethod
    def open(cls, url: str, name: str, *, mode: Mode = "read") -> StudyStore:
        """Open an existing study. Raises StoreError with a list of the database's studies if it does not exist."""
        with _closed_if_it_fails(Database(url, mode=mode)) as database:
            return cls._load(database, name)

    @classmethod
    def _load(cls, database: Database, name: str) -> StudyStore:
        with database.errors():
            names = optuna.get_all_study_names(database.storage)
            if name not in names:
                listed = ", ".join(names) or "none"
                raise StoreError(f"{database.name}: there is no study {name!r}; studies there: {listed}")
            study = optuna.load_study(storage=database.storage, study_name=name)
        with database.reading() as connection:
            mine = tables.studies.c.study_id == study_id(study)
            config = connection.scalar(sa.select(tables.studies.c.spec).where(mine))
        if config is None:
            raise foreign_study(database.name, name)
        return cls(database, study, config)

    @property
    def uid(self) -> str:
        """Unique id, also among studies of the same name; names the study's files outside the database."""
        return str(self.config[UID])

    def keep(
        self, connection: sa.Connection, what: str, now: Mapping[str, Any], *, anew: bool = False
    ) -> Mapping[str, Any]:
        """Store a measurement of the dataset if it is not stored yet. what: one of MEASURED. anew: replace a stored
        measurement. Returns the stored measurement."""
        mine = tables.studies.c.study_id == self.study_id
        config = connection.scalar(sa.select(tables.studies.c.spec).where(mine)) or {}
        if what not in config or (anew and config[what] != dict(now)):
            config = {**config, what: dict(now)}
            connection.execute(sa.update(tables.studies).where(mine).values(spec=config))
        self.config = {**self.config, what: config[what]}
        stored: Mapping[str, Any] = config[what]
        return stored

    def note(self, what: str, now: Mapping[str, Any]) -> None:
        """Like `keep`, in its own transaction."""
        with self.database.writing() as connection:
            self.lock(connection)
            self.keep(connection, what, now)

    def close(self) -> None:
        self.database.close()

    def lock(self, connection: sa.Connection) -> None:
        """Lock the study against other writers until the transaction ends. Raises StoreError if it was deleted."""
        mine = tables.studies.c.study_id == self.study_id
        config = connection.scalar(sa.select(tables.studies.c.spec).where(mine).with_for_update())
        if config is None or config[UID] != self.uid or not self._is_there(connection):
            raise self._deleted()

    def remove_if_empty(self) -> None:
        """Remove the study if it has no trial and no driver."""
        runs = sa.select(tables.drivers.c.driver_id).where(tables.drivers.c.study_id == self.study_id)
        trials = self.database.optuna_table("trials")
        has_trial = sa.select(trials.c.trial_id).where(trials.c.study_id == self.study_id)
        with self.database.writing() as connection:
            self.lock(connection)
            if connection.scalar(runs.limit(1)) is None and connection.scalar(has_trial.limit(1)) is None:
                optuna.delete_study(study_name=self.study.study_name, storage=self.database.storage)
                _sweep(connection, self.database, self.study_id)

    def confirm(self, number: int, seed: int, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Store the metrics of a trial that was trained again with a new seed. metrics: split -> metric -> value. May
        be repeated."""
        table = tables.confirmations
        with self.database.writing() as connection:
            self.lock(connection)
            trial_id = self.trial_id(number)
            connection.execute(sa.delete(table).where(table.c.trial_id == trial_id, table.c.seed == seed))
            rows = [
                {"trial_id": trial_id, "seed": seed, "split": split, "metric": name, "value": value}
                for split, values in metrics.items()
                for name, value in values.items()
                if math.isfinite(value)
            ]
            if rows:
                connection.execute(sa.insert(table), rows)

    def forget(self) -> None:
        """Discard Optuna's cache, which may contain changes that were rolled back."""
        read_anew(self.study, self.database.storage)


def _make(
    connection: sa.Connection,
    database: Database,
    name: str,
    directions: Sequence[Direction],
    config: Mapping[str, Any],
) -> None:
    study = optuna.create_study(storage=database.storage, study_name=name, directions=list(directions))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(config["objectives"]))
    _sweep(connection, database, study_id(study))
    connection.execute(sa.insert(tables.studies).values(study_id=study_id(study), spec=dict(config)))


def _sweep(connection: sa.Connection, database: Database, new: int) -> None:
    """Remove rows of studies and trials that are missing in Optuna's tables, for example because they were deleted in
    optuna-dashboard: their ids may be reused. new: id of a study whose rows are removed, too."""
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
