"""A study in its database: the only state of a search, and the only writer of its tables."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from weightsearch.errors import StoreError
from weightsearch.records import Environment, EpochRecord
from weightsearch.spec.sections import Direction
from weightsearch.study import tables
from weightsearch.study.database import Database

BASELINE: Final = "baseline"
REASON: Final = "reason"
UID: Final = "uid"
RUNG: Final = "completed_rung_"  # of Optuna's pruners


@dataclass(frozen=True)
class Attempt:
    """One try at training a trial: a name that no other try has, and the epochs that it took over from a checkpoint."""

    name: str
    resumed_from: int
    protocol: Mapping[str, Any]
    environment: Environment


class StudyStore:
    """One study of a database. Trials are addressed by their number."""

    def __init__(self, database: Database, study: optuna.Study, spec: Mapping[str, Any]) -> None:
        self.database = database
        self.study = study
        self.spec = spec
        self._intermediate = database.optuna_table("trial_intermediate_values")

    @classmethod
    def create(cls, url: str, name: str, directions: Sequence[Direction], spec: Mapping[str, Any]) -> StudyStore:
        """Open a study, or make it if it is not there.

        spec: plain values, kept with the study: `tree` (the configuration's sections with ranges), `baselines`,
        `objectives`. The stored one wins: it is what the trials were made from.
        """
        with _closed_if_it_fails(Database(url, create=True)) as database:
            with database.errors():
                if name in optuna.get_all_study_names(database.storage):
                    study = optuna.load_study(storage=database.storage, study_name=name)
                    wanted = [direction.upper() for direction in directions]
                    empty = not study.trials and not study.user_attrs
                    same = [direction.name for direction in study.directions] == wanted
                    if _stored_spec(database, study) is not None or not (empty and same):
                        return cls._load(database, name)
                    # Whoever was making it died half-way.
                else:
                    study = optuna.create_study(storage=database.storage, study_name=name, directions=list(directions))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    study.set_metric_names(list(spec["objectives"]))
            spec = {**spec, UID: uuid.uuid4().hex[:12]}
            with database.transaction() as connection:
                _sweep(connection, database, study._study_id)
                connection.execute(sa.insert(tables.studies).values(study_id=study._study_id, spec=dict(spec)))
            return cls(database, study, spec)

    @classmethod
    def open(cls, url: str, name: str) -> StudyStore:
        """Open a study that is there. Raises StoreError that lists the database's studies if it is not."""
        with _closed_if_it_fails(Database(url, create=False)) as database:
            return cls._load(database, name)

    @classmethod
    def _load(cls, database: Database, name: str) -> StudyStore:
        with database.errors():
            known = optuna.get_all_study_names(database.storage)
            if name not in known:
                found = ", ".join(known) or "none"
                raise StoreError(f"{database.name}: there is no study {name!r}; studies there: {found}")
            study = optuna.load_study(storage=database.storage, study_name=name)
        spec = _stored_spec(database, study)
        if spec is None:
            raise StoreError(f"{database.name}: the study {name!r} was not made by weightsearch; choose another name")
        return cls(database, study, spec)

    @property
    def uid(self) -> str:
        """What no other study has, another of the same name included: what it keeps outside the database goes by it."""
        return str(self.spec[UID])

    def close(self) -> None:
        self.database.close()

    # --- what the driver does to trials

    def enqueue_baseline(self, name: str, params: Mapping[str, Any]) -> None:
        """Add a trial with given values of searched parameters, to be tried before any the sampler proposes."""
        with self.database.errors():
            self.study.enqueue_trial(dict(params), user_attrs={BASELINE: name})

    def ask(self, sampler: BaseSampler, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
        """The next waiting trial, or a new one, with a value for every parameter of the space, set to RUNNING.

        A baseline's values stand as they are; those outside the space are not parameters of the trial.
        """
        with self.database.errors():
            self.study.sampler = sampler
            trial = self.study.ask()
            fixed = self.study._storage.get_trial_system_attrs(trial._trial_id).get("fixed_params")
            wanted = space if fixed is None else {name: space[name] for name in fixed}
            for name, distribution in wanted.items():
                trial._suggest(name, distribution)
            return self.study._storage.get_trial(trial._trial_id)

    def record(self, number: int, attempt: Attempt, records: Iterable[EpochRecord]) -> list[EpochRecord]:
        """Store epochs with everything that belongs to them, each epoch in one transaction with Optuna's intermediate
        value. Epochs that are stored already are left as they are; a new attempt first removes those it did not take
        over. Returns the records that were new."""
        trial_id = self._trial_id(number)
        objectives = list(self.spec["objectives"])
        new: list[EpochRecord] = []
        for record in records:
            with self.database.transaction() as connection:
                self._begin_attempt(connection, trial_id, attempt)
                known = sa.select(tables.epochs.c.epoch).where(
                    tables.epochs.c.trial_id == trial_id, tables.epochs.c.epoch == record.epoch
                )
                if connection.scalar(known) is not None:
                    continue
                _insert_epoch(connection, trial_id, record)
                if len(objectives) == 1:
                    connection.execute(
                        sa.insert(self._intermediate).values(
                            trial_id=trial_id,
                            step=record.epoch,
                            intermediate_value=record.metrics[objectives[0]],
                            intermediate_value_type="FINITE",
                        )
                    )
                new.append(record)
        return new

    def should_prune(self, number: int, pruner: optuna.pruners.BasePruner) -> bool:
        """What the pruner says of a trial's epochs so far."""
        with self.database.errors():
            self.study.pruner = pruner
            self.study._thread_local.cached_all_trials = None
            trial = self.study._storage.get_trial(self._trial_id(number))
            return pruner.prune(self.study, trial)

    def complete(self, number: int) -> None:
        """The trial trained to the end: its values are those of its last epoch."""
        metrics = self.metrics(number)
        values = [metrics[name] for name in self.spec["objectives"]]
        with self.database.errors():
            self.study.tell(number, values)

    def forget_decision(self, number: int) -> None:
        """Make the pruner's decision of a trial's last epoch as if it had not been asked: whoever asked may have died
        before the outcome was stored. Successive halving notes the value with which a trial came to a rung."""
        trial_id = self._trial_id(number)
        with self.database.errors():
            trial = self.study._storage.get_trial(trial_id)
        last = trial.last_step
        if last is None:
            return
        value = trial.intermediate_values[last]
        rungs = [key for key, held in trial.system_attrs.items() if key.startswith(RUNG) and held == value]
        table = self.database.optuna_table("trial_system_attributes")
        with self.database.transaction() as connection:
            connection.execute(sa.delete(table).where(table.c.trial_id == trial_id, table.c.key.in_(rungs)))

    def prune(self, number: int) -> None:
        with self.database.errors():
            self.study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """reason: one line, shown wherever the trial is."""
        with self.database.errors():
            self.study._storage.set_trial_user_attr(self._trial_id(number), REASON, reason)
            self.study.tell(number, state=TrialState.FAIL)

    def put_back(self, number: int) -> None:
        """Let a running trial wait: the next driver takes it up again under its number."""
        with self.database.errors():
            self.study._storage.set_trial_state_values(self._trial_id(number), TrialState.WAITING)

    def record_test(self, number: int, metrics: Mapping[str, float]) -> None:
        """Store the final comparison's metrics on the test split."""
        trial_id = self._trial_id(number)
        epoch = self.last_epoch(number)
        with self.database.transaction() as connection:
            mine = (tables.metrics.c.trial_id == trial_id) & (tables.metrics.c.split == "test")
            connection.execute(sa.delete(tables.metrics).where(mine))
            connection.execute(sa.insert(tables.metrics), _metric_rows(trial_id, epoch, "test", metrics))

    # --- reading

    def trials(self) -> list[FrozenTrial]:
        with self.database.errors():
            return self.study.get_trials(deepcopy=False)

    def epochs(self) -> dict[int, int]:
        """Trial number -> epochs stored, for trials that have any."""
        table, trials = tables.epochs, self.database.optuna_table("trials")
        query = (
            sa.select(trials.c.number, sa.func.max(table.c.epoch))
            .join(table, table.c.trial_id == trials.c.trial_id)
            .where(trials.c.study_id == self.study._study_id)
            .group_by(trials.c.number)
        )
        with self.database.transaction() as connection:
            return {number: epoch for number, epoch in connection.execute(query)}  # noqa: C416 - rows, not pairs

    def last_epoch(self, number: int) -> int:
        """Epochs stored of a trial, 0 for none."""
        trial_id = self._trial_id(number)
        with self.database.transaction() as connection:
            last = connection.scalar(
                sa.select(sa.func.max(tables.epochs.c.epoch)).where(tables.epochs.c.trial_id == trial_id)
            )
            return int(last or 0)

    def metrics(self, number: int, split: str = "validation") -> dict[str, float]:
        """A trial's metrics on a split at its last epoch; empty if there are none."""
        trial_id = self._trial_id(number)
        table = tables.metrics
        with self.database.transaction() as connection:
            last = sa.select(sa.func.max(table.c.epoch)).where(table.c.trial_id == trial_id, table.c.split == split)
            rows = connection.execute(
                sa.select(table.c.metric, table.c.value).where(
                    table.c.trial_id == trial_id, table.c.split == split, table.c.epoch == last.scalar_subquery()
                )
            )
            return {row.metric: row.value for row in rows}

    def protocol_and_environment(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """As plain values; empty for a trial that never reported."""
        join = tables.trials.join(tables.environments)
        query = sa.select(tables.trials.c.protocol, tables.environments.c.content).select_from(join)
        with self.database.transaction() as connection:
            row = connection.execute(query.where(tables.trials.c.trial_id == self._trial_id(number))).first()
            return ({}, {}) if row is None else (row[0], row[1])

    def _trial_id(self, number: int) -> int:
        with self.database.errors():
            return self.study._storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)

    def _begin_attempt(self, connection: Connection, trial_id: int, attempt: Attempt) -> None:
        mine = tables.trials.c.trial_id == trial_id
        row = connection.execute(sa.select(tables.trials.c.attempt, tables.trials.c.attempts).where(mine)).first()
        if row is not None and row.attempt == attempt.name:
            return
        for table in tables.PER_EPOCH:
            late = (table.c.trial_id == trial_id) & (table.c.epoch > attempt.resumed_from)
            connection.execute(sa.delete(table).where(late))
        values = self._intermediate
        late = (values.c.trial_id == trial_id) & (values.c.step > attempt.resumed_from)
        connection.execute(sa.delete(values).where(late))
        content = {
            "attempt": attempt.name,
            "attempts": 1 if row is None else row.attempts + 1,
            "protocol": dict(attempt.protocol),
            "environment_id": _environment_id(connection, attempt.environment),
        }
        if row is None:
            connection.execute(sa.insert(tables.trials).values(trial_id=trial_id, **content))
        else:
            connection.execute(sa.update(tables.trials).where(mine).values(**content))


def _stored_spec(database: Database, study: optuna.Study) -> dict[str, Any] | None:
    with database.transaction() as connection:
        mine = tables.studies.c.study_id == study._study_id
        return connection.scalar(sa.select(tables.studies.c.spec).where(mine))


@contextmanager
def _closed_if_it_fails(database: Database) -> Iterator[Database]:
    try:
        yield database
    except BaseException:
        database.close()
        raise


def _insert_epoch(connection: Connection, trial_id: int, record: EpochRecord) -> None:
    connection.execute(
        sa.insert(tables.epochs).values(
            trial_id=trial_id,
            epoch=record.epoch,
            seconds=record.seconds,
            steps=record.steps,
            empty_steps=record.empty_steps,
            train_loss=_finite(record.train_loss),
            lr=record.lr,
        )
    )
    rows = [
        {
            "trial_id": trial_id,
            "epoch": record.epoch,
            "term": name,
            "value": _finite(term.value),
            "weight": term.weight,
            "contribution": _finite(term.contribution),
            "gradient": _finite(term.gradient),
        }
        for name, term in record.terms.items()
    ]
    if rows:
        connection.execute(sa.insert(tables.terms), rows)
    connection.execute(sa.insert(tables.metrics), _metric_rows(trial_id, record.epoch, "validation", record.metrics))


def _metric_rows(trial_id: int, epoch: int, split: str, metrics: Mapping[str, float]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial_id, "epoch": epoch, "split": split, "metric": name, "value": _finite(value)}
        for name, value in metrics.items()
    ]


def _environment_id(connection: Connection, environment: Environment) -> int:
    content = asdict(environment)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    table = tables.environments
    found = connection.scalar(sa.select(table.c.environment_id).where(table.c.digest == digest))
    if found is not None:
        return int(found)
    insert = sa.insert(table).values(digest=digest, content=content).returning(table.c.environment_id)
    return int(connection.execute(insert).scalar_one())


def _sweep(connection: Connection, database: Database, new: int) -> None:
    """Remove rows of studies and trials that Optuna's tables no longer have, such as those deleted in its dashboard:
    their ids may be given again. new: the id of a study that was just made and has no row yet."""
    own_trials = sa.select(database.optuna_table("trials").c.trial_id)
    own_studies = sa.select(database.optuna_table("studies").c.study_id)
    for table in tables.PER_TRIAL:
        connection.execute(sa.delete(table).where(table.c.trial_id.not_in(own_trials)))
    gone = tables.studies.c.study_id.not_in(own_studies) | (tables.studies.c.study_id == new)
    connection.execute(sa.delete(tables.studies).where(gone))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
