"""Writer of a study's trials, used by a driver that holds a lease.

Every act is one transaction, with Optuna's writes and ours. If a driver dies, or loses its connection before it knows
whether an act was stored, the act is stored completely or not at all, and may be repeated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from weightsearch.records import (
    METRIC,
    SHARED_PICTURES,
    Environment,
    EpochRecord,
    Measurements,
    Picture,
    joined,
)
from weightsearch.study import lease as leases
from weightsearch.study import optuna_internals, tables
from weightsearch.study.lease import Lease
from weightsearch.study.store import BASELINE, REASON, StudyStore
from weightsearch.study.tables import finite, measurement_rows
from weightsearch.study.trials import KEPT, in_group


@dataclass(frozen=True)
class Attempt:
    """An attempt to train a trial. name: unique. resumed_from: last epoch of the checkpoint that it resumed from.
    order: order of its trial's Assignment, or of the worker failure before it."""

    name: str
    resumed_from: int
    protocol: Mapping[str, Any]
    environment: Environment
    order: int = 0


BeforeEnd = Callable[[int, TrialState], None]


class Stored(NamedTuple):
    """Result of storing an epoch. new: it was not stored before. removed: number of removed epochs of an earlier
    attempt."""

    new: bool
    removed: int


class Writer:
    """Writes a driver's changes to the trials of a study. before_end: called in the transaction that ends a trial,
    while the trial can still be changed."""

    def __init__(self, store: StudyStore, lease: Lease, before_end: BeforeEnd | None = None) -> None:
        self.store = store
        self.lease = lease
        self.before_end: BeforeEnd = before_end or (lambda *_: None)
        self._held: Connection | None = None
        self._intermediate = store.database.optuna_table(optuna_internals.INTERMEDIATE_VALUES)
        self._attributes = store.database.optuna_table(optuna_internals.SYSTEM_ATTRIBUTES)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a transaction: everything inside is stored together or not at all, and only while the lease is valid.
        May be nested. Raises StudyHeld if another driver took over, StoreUnavailable if the database is unavailable."""
        if self._held is not None:
            yield self._held
            return
        try:
            with self.store.database.writing() as connection:
                self.store.lock(connection)
                self.lease.check(connection)
                self._held = connection
                yield connection
        except BaseException:
            self.store.forget()
            raise
        finally:
            self._held = None

    def reclaim(self) -> list[int]:
        """Set the trials of dead drivers to WAITING. Returns their numbers."""
        with self.transaction() as connection:
            return leases.reclaim(self.store, connection)

    def others(self) -> list[leases.Holder]:
        """Other drivers that hold a lease on the study."""
        with self.store.database.reading() as connection:
            holders = leases.holders(self.store, connection)
        return [holder for holder in holders if holder.driver_id != self.lease.driver_id]

    def enqueue_baseline(self, name: str, params: Mapping[str, Any]) -> None:
        """Add a trial with given values of searched parameters, to be trained before the sampler's proposals."""
        with self.transaction():
            self.store.study.enqueue_trial(dict(params), user_attrs={BASELINE: name})

    def correct_baseline(self, number: int, params: Mapping[str, Any]) -> None:
        """Correct the values of a waiting baseline, for studies of older versions (10.0 for the choice 10 was lost)."""
        with self.transaction():
            trial_id = self.store.trial_id(number)
            if optuna_internals.fixed_params(self.store.storage, trial_id) != dict(params):
                optuna_internals.fix_params(self.store.storage, trial_id, params)

    def ask(self, sampler: BaseSampler, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
        """Take the next waiting trial or create a trial, with a value for every parameter of the space; set it to
        RUNNING and assign it to this driver.

        A baseline's values are not changed; its values outside the space are not parameters of the trial.
        """
        with self.transaction() as connection:
            study = self.store.study
            study.sampler = sampler
            optuna_internals.read_anew(study)
            trial = study.ask()
            trial_id = optuna_internals.trial_id(trial)
            fixed = optuna_internals.fixed_params(self.store.storage, trial_id)
            wanted = space if fixed is None else {name: space[name] for name in fixed}
            for name, distribution in wanted.items():
                optuna_internals.suggest(trial, name, distribution)
            self._assign(connection, trial_id)
            return self.store.storage.get_trial(trial_id)

    def assigned(self) -> list[int]:
        """Numbers of this driver's RUNNING trials."""
        assignments = tables.assignments
        mine = sa.select(assignments.c.trial_id).where(assignments.c.driver_id == self.lease.driver_id)
        with self.store.database.reading() as connection:
            ids = set(connection.scalars(mine))
        return [row.number for row in self.store.states() if row.state == TrialState.RUNNING and row.trial_id in ids]

    def record(self, number: int, attempt: Attempt, record: EpochRecord) -> Stored:
        """Store an epoch with all its measurements and Optuna's intermediate value. An epoch that is already stored is
        not changed. Stored epochs that do not belong to the attempt are removed: those after its checkpoint, and those
        that differ from its checkpoint."""
        objectives = list(self.store.config["objectives"])
        with self.transaction() as connection:
            trial_id = self.store.trial_id(number)
            removed = self._begin_attempt(connection, trial_id, attempt)
            row = _epoch_row(trial_id, record)
            columns = [tables.epochs.c[name] for name in row]
            mine = (tables.epochs.c.trial_id == trial_id) & (tables.epochs.c.epoch == record.epoch)
            stored = connection.execute(sa.select(*columns).where(mine)).first()
            if stored is not None:
                if record.epoch > attempt.resumed_from or tuple(stored) == tuple(row.values()):
                    return Stored(new=False, removed=removed)
                removed += self._remove_epochs(connection, trial_id, record.epoch - 1)
            connection.execute(sa.insert(tables.epochs).values(**row))
            groups = {**_metrics("validation", record.metrics), **record.all_measurements}
            if rows := measurement_rows(trial_id, record.epoch, groups):
                connection.execute(sa.insert(tables.measurements), rows)
            if len(objectives) == 1:
                value = record.metrics[objectives[0]]
                row = {"step": record.epoch, "intermediate_value": value, "intermediate_value_type": "FINITE"}
                connection.execute(sa.insert(self._intermediate).values(trial_id=trial_id, **row))
            return Stored(new=True, removed=removed)

    def should_prune(self, number: int, pruner: optuna.pruners.BasePruner) -> bool:
        """Ask the pruner about a trial's epochs so far. The pruner may store notes."""
        with self.transaction():
            study = self.store.study
            study.pruner = pruner
            optuna_internals.read_anew(study)
            return pruner.prune(study, self.store.trial(number))

    def complete(self, number: int, epoch: int | None = None, pictures: Sequence[Picture] = ()) -> None:
        """End a trial as COMPLETE, with the values of its last epoch. epoch: epoch to use instead (early stopping)."""
        with self.transaction() as connection:
            self._insert_pictures(connection, number, pictures)
            if epoch is not None:
                self.store.storage.set_trial_user_attr(self.store.trial_id(number), KEPT, epoch)
            metrics = self.store.metrics(number)
            values = [metrics[name] for name in self.store.config["objectives"]]
            self.before_end(number, TrialState.COMPLETE)
            self.store.study.tell(number, values)

    def prune(self, number: int) -> None:
        with self.transaction():
            self.before_end(number, TrialState.PRUNED)
            self.store.study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """End a trial as FAIL. reason: one line, shown with the trial."""
        with self.transaction():
            self.store.storage.set_trial_user_attr(self.store.trial_id(number), REASON, reason)
            self.before_end(number, TrialState.FAIL)
            self.store.study.tell(number, state=TrialState.FAIL)

    def failures(self, number: int) -> int:
        """Number of failures of a trial's worker, over all drivers."""
        mine = tables.assignments.c.trial_id == self.store.trial_id(number)
        with self.store.database.reading() as connection:
            return int(connection.scalar(sa.select(tables.assignments.c.failures).where(mine)) or 0)

    def set_failures(self, number: int, failures: int) -> None:
        with self.transaction() as connection:
            mine = tables.assignments.c.trial_id == self.store.trial_id(number)
            connection.execute(sa.update(tables.assignments).where(mine).values(failures=failures))

    def put_back(self, number: int) -> None:
        """Set a running trial to WAITING: the next driver resumes it under the same number."""
        with self.transaction():
            self.store.storage.set_trial_state_values(self.store.trial_id(number), TrialState.WAITING)

    def record_test(self, number: int, metrics: Mapping[str, float]) -> None:
        """Store a trial's metrics on the test split, of the final comparison."""
        with self.transaction() as connection:
            trial_id = self.store.trial_id(number)
            epoch = self.store.epoch_that_counts(number)
            table = tables.measurements
            mine = (table.c.trial_id == trial_id) & in_group(METRIC.name, "test")
            connection.execute(sa.delete(table).where(mine))
            if rows := measurement_rows(trial_id, epoch, _metrics("test", metrics)):
                connection.execute(sa.insert(table), rows)

    def _insert_pictures(self, connection: Connection, number: int, pictures: Sequence[Picture]) -> None:
        """Store a trial's pictures; the pictures of frames and ground truth are stored once for all trials."""
        table = tables.pictures
        mine = table.c.study_id == self.store.study_id
        shared = sa.select(table.c.frame, table.c.kind).where(mine, table.c.number == tables.OF_ALL)
        stored = {(row.frame, row.kind) for row in connection.execute(shared)}
        connection.execute(sa.delete(table).where(mine, table.c.number == number))
        rows: list[dict[str, Any]] = []
        for picture in pictures:
            of_all = picture.kind in SHARED_PICTURES
            if not of_all or (picture.frame, picture.kind) not in stored:
                owner = tables.OF_ALL if of_all else number
                rows.append({"study_id": self.store.study_id, "number": owner, **asdict(picture)})
        if rows:
            connection.execute(sa.insert(table), rows)

    def _assign(self, connection: Connection, trial_id: int) -> None:
        table = tables.assignments
        mine = table.c.trial_id == trial_id
        again = sa.update(table).where(mine).values(driver_id=self.lease.driver_id, times=table.c.times + 1)
        if connection.execute(again).rowcount == 0:
            first = {"trial_id": trial_id, "driver_id": self.lease.driver_id, "times": 1, "failures": 0}
            connection.execute(sa.insert(table).values(**first))

    def _begin_attempt(self, connection: Connection, trial_id: int, attempt: Attempt) -> int:
        """Store a new attempt, and remove epochs that it does not continue. Returns the number of removed epochs."""
        mine = tables.trials.c.trial_id == trial_id
        row = connection.execute(sa.select(tables.trials.c.attempt, tables.trials.c.attempts).where(mine)).first()
        if row is not None and row.attempt == attempt.name:
            return 0
        removed = self._remove_epochs(connection, trial_id, attempt.resumed_from)
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
        return removed

    def _remove_epochs(self, connection: Connection, trial_id: int, last: int) -> int:
        """Remove the epochs after `last`, and the pruner's notes on them: successive halving stores the value with
        which a trial reached a rung. Returns the number of removed epochs."""
        values = self._intermediate
        late = (values.c.trial_id == trial_id) & (values.c.step > last)
        removed = list(connection.scalars(sa.select(values.c.intermediate_value).where(late)))
        if removed:
            notes = self._attributes
            rungs = (notes.c.trial_id == trial_id) & notes.c.key.startswith(optuna_internals.RUNG, autoescape=True)
            for key, text in connection.execute(sa.select(notes.c.key, notes.c.value_json).where(rungs)).all():
                if json.loads(text) in removed:
                    connection.execute(sa.delete(notes).where(rungs, notes.c.key == key))
        connection.execute(sa.delete(values).where(late))
        of_table = {
            table.name: connection.execute(
                sa.delete(table).where(table.c.trial_id == trial_id, table.c.epoch > last)
            ).rowcount
            for table in tables.PER_EPOCH
        }
        return of_table[tables.epochs.name]


def _epoch_row(trial_id: int, record: EpochRecord) -> dict[str, Any]:
    return {
        "trial_id": trial_id,
        "epoch": record.epoch,
        "seconds": record.seconds,
        "steps": record.steps,
        "empty_steps": record.empty_steps,
        "train_loss": finite(record.train_loss),
        "lr": record.lr,
        "problem": record.problem,
    }


def _metrics(split: str, metrics: Mapping[str, float]) -> Measurements:
    return {METRIC.name: {joined(split, name): value for name, value in metrics.items()}}


def _environment_id(connection: Connection, environment: Environment) -> int:
    content = asdict(environment)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    table = tables.environments
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[connection.dialect.name](table)
    connection.execute(insert.values(digest=digest, content=content).on_conflict_do_nothing())
    return int(connection.scalars(sa.select(table.c.environment_id).where(table.c.digest == digest)).one())
