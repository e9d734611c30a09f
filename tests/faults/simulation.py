"""A deterministic simulation of drivers, workers and their faults, all of it from one seed.

Real: the database (SQLite), store, lease, writer, ledger, outbox, places, claims, searcher and scheduler. Fake: the
clock, Ray, the workers and their disk. Two drivers, and now and then a job of somebody else, share one cluster of one to
three places. A schedule mixes work with faults: drivers that crash before or after any commit, commits whose
answer is lost, databases that go away, drivers that sleep beyond their lease and wake up again, workers that die with
or without their last report, data that are away or changed for workers, reports that come late or twice, and workers
that outlive their driver. After every step
the invariants in `check` hold; when the faults end, the study ends with exactly its trials.
"""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ray.cloudpickle
import sqlalchemy as sa
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from tests.conftest import TINY
from tests.faults.cluster import SharedBroker, SharedCluster, Ticket, TuneStandIn
from tests.stores import NOBODY
from weightsearch.config import StudyConfig, load_study
from weightsearch.errors import DataError, SearchError, StoreError, StoreUnavailable, StudyHeld
from weightsearch.records import Environment, EpochRecord, TermRecord, measured_terms
from weightsearch.search.admission import Claims
from weightsearch.search.ledger import Assignment, Ledger, stored_config
from weightsearch.search.outbox import Outbox
from weightsearch.search.places import Places
from weightsearch.search.retry import Retry
from weightsearch.search.scheduler import LedgerScheduler
from weightsearch.search.searcher import LedgerSearcher
from weightsearch.study.database import Database
from weightsearch.study.lease import Lease
from weightsearch.study.store import StudyStore
from weightsearch.study.writer import Writer

EPOCHS = 3
LEASE = 30.0
STUDIES = 25  # of one database file
HERE = Environment("host", "cpu: x", 1, "", {})
FINISHED = ("COMPLETE", "PRUNED", "FAIL")


class Crash(BaseException):
    """The driver's process is gone: nothing of it runs any more."""


class Violated(AssertionError):
    """An invariant does not hold."""


@dataclass
class Trial:
    """A trial as Ray Tune knows it, and the worker that trains it."""

    trial_id: str
    config: dict[str, Any]
    max_failures: int = 0
    num_failures: int = 0
    pickled_error_file: str = "none"
    attempt: str = ""
    order: int = 0
    resumed_from: int = 0
    history: list[EpochRecord] = field(default_factory=list)
    told: bool = False  # the history that its checkpoint brought
    waits: bool = False  # for the driver to hear its last result
    last_result: dict[str, Any] = field(default_factory=dict)
    status: str = "PENDING"
    place: Ticket | None = None

    def should_recover(self) -> bool:
        return self.num_failures <= self.max_failures


@dataclass
class Driver:
    """A driver's process. tune: its round of Ray Tune; None between two rounds. paused: until when it sleeps."""

    machine: Machine
    lease: Lease
    ledger: Ledger
    outbox: Outbox = field(init=False)
    broker: SharedBroker = field(init=False)
    claims: Claims = field(init=False)
    searcher: LedgerSearcher = field(init=False)
    scheduler: LedgerScheduler = field(init=False)
    tune: TuneStandIn | None = None
    mail: list[tuple[Trial, dict[str, Any]]] = field(default_factory=list)
    paused: float = 0.0
    finished: bool = False

    @property
    def trials(self) -> list[Trial]:
        return [] if self.tune is None else self.tune.trials


@dataclass
class Machine:
    """Where a driver may run: its connection to the database, and the faults that wait in it."""

    store: StudyStore
    driver: Driver | None = None


@dataclass
class Disk:
    """A trial's folder: the checkpoint's epochs, and the attempt that owns it."""

    owner: str = ""
    history: list[EpochRecord] = field(default_factory=list)


class Arena:
    """A database file that many schedules use one after another, each with a study of its own, open on two machines.
    world: the schedule whose faults are in force."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 0.0
        self.world: World | None = None
        self.databases = [Database(f"sqlite:///{path}", mode="create", clock=lambda: self.now) for _ in range(2)]
        for database in self.databases:
            self._make_faulty(database.engine)

    def close(self) -> None:
        for database in self.databases:
            database.close()

    def _make_faulty(self, engine: sa.Engine) -> None:
        commit = engine.dialect.do_commit

        def do_commit(connection: Any) -> None:
            before, after = (None, None) if self.world is None else self.world.around_commit()
            if before is not None:
                raise before
            commit(connection)
            if after is not None:
                raise after

        def execute(*_: Any) -> None:
            if self.world is not None and self.now < self.world.away_until:
                raise _busy()

        engine.dialect.do_commit = do_commit  # type: ignore[method-assign]
        sa.event.listen(engine, "before_cursor_execute", execute)


class World:
    """One schedule. alone: one driver with one worker at a time, whose study must equal the undisturbed one."""

    def __init__(
        self, arena: Arena, config: StudyConfig, name: str, seed: int, *, alone: bool, faults: bool = True
    ) -> None:
        self.arena = arena
        self.config = config
        self.name = name
        self.random = random.Random(seed)
        self.alone = alone
        self.faults = faults
        self.attempts: dict[str, list[EpochRecord]] = {}
        self.counter = itertools.count(1)
        self.disk: dict[int, Disk] = {}
        self.deaths: Counter[int] = Counter()  # of each trial's workers
        self.orphans: list[Trial] = []
        self.away_until = 0.0
        self.ended: dict[int, tuple[Any, ...]] = {}
        self.going_on: dict[int, tuple[Any, ...]] = {}  # epochs of trials that had not ended
        self.log: list[str] = []
        made = stored_config(config)
        directions = list(config.search.objectives.values())
        stores = [StudyStore.create_in(database, name, directions, made) for database in arena.databases]
        self.machines = [Machine(store) for store in stores[: 1 if alone else 2]]
        self.cluster = SharedCluster(1 if alone else self.random.randint(1, 3))
        self.guests: list[Ticket] = []  # requests of a job that is no driver of this study
        arena.world = self
        self.study_id = self.machines[0].store.study_id
        self.rungs = _rungs(config)
        self.reader = sqlite3.connect(f"file:{arena.path}?mode=ro", uri=True)

    # --- the schedule

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
            self.check()
        self.faults = False
        self.away_until = 0.0
        for _ in range(3000):
            if any(machine.driver and machine.driver.finished for machine in self.machines):
                break
            self.step()
            self.check()
        else:
            raise Violated("the study does not come to its end")
        self.check_end()

    def close(self) -> None:
        self.arena.world = None
        self.reader.close()

    def step(self) -> None:
        """One thing that happens somewhere."""
        self.arena.now += self.random.expovariate(2.0)
        machine = self.random.choice(self.machines)
        driver = machine.driver
        if self.faults and self.random.random() < 0.08:
            self._fault(machine)
        elif driver is None:
            busy = [other for other in self.machines if other.driver is not None]
            if not busy or (not self.alone and self.random.random() < 0.2):
                self._guarded(machine, lambda: self._start(machine))
        elif driver.paused <= self.arena.now and not driver.finished:
            self._guarded(machine, lambda: self._work(driver))
        if self.orphans and self.random.random() < 0.3:
            self._orphan_trains(self.random.choice(self.orphans))
        if not self.alone and self.random.random() < 0.05:
            self._guest()

    def _guest(self) -> None:
        """Another job comes for a place, and goes when it has had one for a while."""
        if self.guests:
            if self.guests[0].granted:
                self.cluster.give_back(self.guests.pop(0))
        elif self.faults:
            self.guests.append(self.cluster.ask("guest"))

    def _work(self, driver: Driver) -> None:
        """The steps that a driver's event loop may take next."""
        idle = [trial for trial in driver.trials if trial.status == "RUNNING" and not trial.waits]
        choices: list[Callable[[], object]] = [lambda: self._round(driver), lambda: self._beat(driver)]
        if idle:
            choices += [lambda: self._train(driver, self.random.choice(idle))] * 4
        if driver.mail:
            choices += [lambda: self._deliver(driver)] * 4
        if driver.outbox.waiting:
            choices += [lambda: self._place(driver)] * 2
        if self.faults and driver.trials:
            choices.append(lambda: self._worker_dies(driver, self.random.choice(driver.trials)))
            if self.random.random() < 0.2:
                choices.append(lambda: self._data_away(driver, self.random.choice(driver.trials)))
        self.random.choice(choices)()

    def _fault(self, machine: Machine) -> None:
        driver = machine.driver
        what = self.random.choice(["crash", "pause", "away", "sleep", "ray lost"])
        self.log.append(what)
        if what == "crash" and driver is not None:
            self._drop(machine)
        elif what == "ray lost" and driver is not None and driver.paused <= self.arena.now:
            self._guarded(machine, lambda: self._lose_ray(driver))
        elif what == "pause" and driver is not None:
            driver.paused = self.arena.now + self.random.uniform(1, 3 * LEASE)
        elif what == "away":
            self.away_until = self.arena.now + self.random.uniform(1, 2 * LEASE)
        elif what == "sleep":
            self.arena.now += self.random.uniform(1, 2 * LEASE)

    def _lose_ray(self, driver: Driver) -> None:
        """All workers are gone; the driver starts Ray again and keeps its ledger, as driver.StudyRun.search."""
        self.orphans += [trial for trial in driver.trials if self.random.random() < 0.5]
        driver.tune, driver.mail = None, []
        self.cluster.leave(driver.broker.job)
        with suppress(StoreUnavailable):
            driver.ledger.put_back()
        self._connect(driver)

    def _guarded(self, machine: Machine, action: Callable[[], None]) -> None:
        try:
            action()
        except Crash:
            self.log.append("crashed at a commit")
            self._drop(machine)
        except StudyHeld:
            self._drop(machine)  # it says so and exits
        except SearchError:  # the data are away: it says so and exits, and its trials wait, as driver.StudyRun._search
            with suppress(StoreError, Crash):
                machine.driver.ledger.put_back()
                machine.driver.lease.release()
            self._drop(machine)
        except StoreUnavailable:
            pass  # at a start `run` says so and exits; in a heartbeat the next one comes

    def _drop(self, machine: Machine) -> None:
        """A driver's process ends. Its workers may live on for a while, unheard."""
        if machine.driver is not None:
            self.orphans += [trial for trial in machine.driver.trials if self.random.random() < 0.5]
            self.cluster.leave(machine.driver.broker.job)
        machine.driver = None
        machine.store.forget()

    # --- what a driver does

    def _start(self, machine: Machine) -> None:
        store = machine.store
        lease = Lease.take(store, join=not self.alone, seconds=LEASE, process=NOBODY)
        ledger = Ledger(self.config, Writer(store, lease))
        machine.driver = Driver(machine, lease, ledger)
        self._connect(machine.driver)

    def _connect(self, driver: Driver) -> None:
        retry = Retry(lambda _: None, clock=self._clock, sleep=self._sleep)
        driver.outbox = Outbox(driver.ledger, retry, limit=self.random.choice([2, 1000]))
        driver.broker = SharedBroker(self.cluster, f"driver {next(self.counter)}")
        places = Places(driver.broker, lambda: self.arena.now)
        driver.claims = Claims(driver.outbox, places, lambda: self.cluster.places, lambda: True)

    def _clock(self) -> float:
        """A driver's own: time goes on between two looks at it."""
        self.arena.now += self.random.expovariate(5.0)
        return self.arena.now

    def _sleep(self, seconds: float) -> None:
        self.arena.now += seconds + 0.01

    def _round(self, driver: Driver) -> None:
        """A step of rounds.train_all, or of the round of Ray Tune that it has begun."""
        if driver.tune is not None:
            self._suggest(driver)
        elif driver.claims.ready():
            driver.tune = TuneStandIn(driver.claims.places, driver.broker)
            driver.searcher = LedgerSearcher(driver.claims, _config, driver.tune)
            max_failures = self.config.base.resources.max_failures
            driver.scheduler = LedgerScheduler(driver.outbox, driver.tune, max_failures)
        elif driver.outbox.done():
            driver.finished = True
            if self.faults:  # it leaves, and may be called again
                driver.lease.release()
                self._drop(driver.machine)

    def _suggest(self, driver: Driver) -> None:
        found = driver.searcher.suggest("trial")
        if found == Searcher.FINISHED:
            if driver.trials:
                raise Violated("a round of Ray Tune ends while trials run")
            driver.tune.release()
            driver.tune = None
        elif found is not None:
            trial = Trial(f"trial {next(self.counter)}", found)
            driver.trials.append(trial)
            driver.scheduler.on_trial_add(driver.tune, trial)
            self._place(driver)
            if trial.status == "PENDING":
                raise Violated(f"trial {found['number']} was claimed without a place for it")
        elif driver.trials:
            self._place(driver)
        elif driver.tune.kept:  # Ray Tune would do nothing but ask again
            raise Violated("Ray Tune keeps a worker while no trial runs and none can be had")

    def _place(self, driver: Driver) -> None:
        """Ray Tune looks which trials may begin."""
        if driver.tune is None:
            driver.claims.ready()
            return
        chosen = driver.scheduler.choose_trial_to_run(driver.tune)
        for trial in driver.tune.start(chosen):
            self._begin(trial)
        if driver.tune.kept and not driver.tune.waiting():  # a trial began at a place that it had asked for
            driver.scheduler.choose_trial_to_run(driver.tune)  # Ray Tune's next step
        if driver.tune.kept:
            raise Violated("a worker that has nothing to do keeps its place")

    def _beat(self, driver: Driver) -> None:
        driver.lease.renew()

    def _deliver(self, driver: Driver) -> None:
        """A result comes to the driver: in any order among trials, perhaps a second time."""
        trial, result = self.random.choice(driver.mail)
        again = self.faults and self.random.random() < 0.15
        if not again:
            driver.mail.remove((trial, result))
        number = result["number"]
        attempt = json.loads(result["report"])["attempt"]
        if result["done"] and not again and attempt == trial.attempt:
            try:
                driver.scheduler.on_trial_complete(None, trial, result)
            except Exception:  # Tune takes it for a failure of the trial
                trial.num_failures += 1
                driver.scheduler.on_trial_error(None, trial)
                raise Violated("a fault was swallowed") from None
            stop = True
        else:
            stop = driver.scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP
        if not again and attempt == trial.attempt:
            trial.waits = False
        heard = trial in driver.trials and attempt == trial.attempt  # late news may be ignored
        if heard and not driver.outbox.waiting and driver.ledger.running.get(number):
            self._check_stored(number, result)
        if stop and trial in driver.trials:
            driver.tune.end(trial)
            driver.mail = [(one, mail) for one, mail in driver.mail if one is not trial]

    def _data_away(self, driver: Driver, trial: Trial) -> None:
        """A worker cannot read the data, or finds others than the study began with, until Ray gives the trial up: the
        study stops, the trial waits."""
        number = trial.config["number"]
        self.log.append(f"data of {number} are away")
        path = self.arena.path.with_name("data-away.pkl")
        path.write_bytes(ray.cloudpickle.dumps(DataError("frame 7 is away")))
        driver.mail = [(one, mail) for one, mail in driver.mail if one is not trial]
        trial.pickled_error_file = str(path)
        trial.num_failures = trial.max_failures + 1
        self.deaths[number] += trial.num_failures
        driver.tune.lose(trial)
        driver.trials.remove(trial)
        had_ended = number not in driver.ledger.running
        driver.scheduler.on_trial_error(None, trial)
        (state,) = (one[2] for one in self._trials() if one[0] == number)
        had_ended |= state in ("COMPLETE", "PRUNED")  # by a report that waited for the database before this error
        if not driver.outbox.waiting and not had_ended:
            raise Violated(f"the study goes on though the data of trial {number} are away")

    def _worker_dies(self, driver: Driver, trial: Trial) -> None:
        """At any moment: its last result may be lost, though its checkpoint was written."""
        self.log.append(f"worker of {trial.config['number']} dies")
        if self.random.random() < 0.5:  # else it comes late, when another worker has taken up the trial
            driver.mail = [(one, mail) for one, mail in driver.mail if one is not trial]
        counts = self.random.random() < 0.9  # Ray does not count what a node that is taken away takes with it
        trial.num_failures += counts
        self.deaths[trial.config["number"]] += counts
        began = trial.status == "RUNNING" and self.random.random() < 0.85
        driver.tune.lose(trial)  # if it had not begun, Ray gives it up
        trial.status = "RUNNING" if began else "PENDING"
        recovers = trial.should_recover() and began
        if not recovers:
            driver.trials.remove(trial)
        driver.scheduler.on_trial_error(None, trial)
        if not recovers:
            return
        trial.status, trial.attempt = "PENDING", ""
        driver.scheduler.on_trial_add(driver.tune, trial)
        if self.random.random() < 0.2:  # it died at its start: Tune tells the same death once more
            trial.num_failures += counts
            driver.trials.remove(trial)
            driver.scheduler.on_trial_error(None, trial)
            return
        self._place(driver)

    # --- what a worker does

    def _begin(self, trial: Trial) -> None:
        """As search/worker.py: go on from the checkpoint, and own its folder from now on."""
        disk = self.disk.setdefault(trial.config["number"], Disk())
        trial.attempt = f"attempt {next(self.counter)}"
        if self.faults and self.random.random() < 0.05:
            disk.history = disk.history[: self.random.randint(0, len(disk.history))]  # lost, or an older one
        trial.order = trial.config["order"]
        trial.history = list(disk.history)
        trial.resumed_from = len(trial.history)
        trial.told = not trial.history
        trial.waits = False
        disk.owner = trial.attempt
        self.attempts[trial.attempt] = trial.history

    def _train(self, driver: Driver, trial: Trial) -> None:
        if not trial.told:
            records = list(trial.history)
            trial.told = True
        elif (record := self._epoch(trial)) is not None:
            records = [record]
        else:
            self._worker_dies(driver, trial)  # another worker owns the folder
            return
        report = {
            "attempt": trial.attempt,
            "order": trial.order,
            "resumed_from": trial.resumed_from,
            "protocol": {"crop": "none"},
            "environment": asdict(HERE),
            "records": [record.to_plain() for record in records],
        }
        done = self._over([record.metrics["abs_rel"] for record in trial.history])
        driver.mail.append((trial, {"number": trial.config["number"], "report": json.dumps(report), "done": done}))
        trial.waits = True

    def _epoch(self, trial: Trial) -> EpochRecord | None:
        disk = self.disk[trial.config["number"]]
        if disk.owner != trial.attempt or self._over([record.metrics["abs_rel"] for record in trial.history]):
            return None
        epoch = len(trial.history) + 1
        tag = float(trial.attempt.split()[1])
        metrics = {"abs_rel": trial.config["value"](epoch), "a1": trial.config["other"](epoch), "attempt": tag}
        record = EpochRecord(epoch, tag, 5, 1.0, 1e-3, metrics, measured_terms({"a": TermRecord(1, 1, 1, 1)}))
        trial.history.append(record)
        disk.history = list(trial.history)
        return record

    def _over(self, values: list[float]) -> bool:
        """True if a training with this curve has come to its end."""
        stopping = self.config.base.train.early_stopping
        return len(values) >= EPOCHS or (stopping is not None and stopping.over(values))

    def _orphan_trains(self, trial: Trial) -> None:
        if self._epoch(trial) is None or self.random.random() < 0.3:
            self.orphans.remove(trial)

    # --- faults of the database

    def around_commit(self) -> tuple[BaseException | None, BaseException | None]:
        """The errors to raise before a commit and after it: a crash, or a lost answer."""
        if not self.faults or self.random.random() > 0.04:
            return None, None
        fault = self.random.choice([Crash(), _busy()])
        return (fault, None) if self.random.random() < 0.5 else (None, fault)

    # --- what must hold

    def check(self) -> None:
        """After every step: numbers, budget, one outcome a trial, one decision of the pruner an epoch, whole curves of
        one attempt each, one driver a trial."""
        trials = self._trials()
        if [number for number, *_ in trials] != list(range(len(trials))):
            raise Violated(f"the trials' numbers are {[number for number, *_ in trials]}")
        if len(trials) > self.config.search.trials:
            raise Violated(f"{len(trials)} trials, {self.config.search.trials} are allowed")
        for number, trial_id, state, value in trials:
            curve, tags, attempt = self._curve(trial_id)
            if list(curve) != list(range(1, len(curve) + 1)) or list(tags) != list(curve):
                raise Violated(f"trial {number} has the epochs {list(curve)}, with metrics {list(tags)}")
            known = [(r.metrics["abs_rel"], r.metrics["attempt"]) for r in self.attempts.get(attempt, [])]
            if list(zip(curve.values(), tags.values(), strict=True)) != known[: len(curve)]:
                raise Violated(f"trial {number} is not what its attempt trained")
            self._check_outcome(number, state, value, curve)
            epochs = (tuple(curve.values()), tuple(tags.values()))
            if state == "PRUNED" and self.going_on.get(number) == epochs:
                raise Violated(f"trial {number} was let go on after {len(curve)} epochs and is PRUNED after them")
            if state not in FINISHED:
                self.going_on[number] = epochs
            else:
                now = (state, value, *epochs)
                if self.ended.setdefault(number, now) != now:
                    raise Violated(f"trial {number} ended as {self.ended[number]} and became {now}")
        for number in self.ended:
            if number >= len(trials):
                raise Violated(f"trial {number} had ended and is gone")
        self._check_owners()

    def _check_outcome(self, number: int, state: str, value: float | None, curve: dict[int, float]) -> None:
        values = list(curve.values())
        if state == "COMPLETE":
            stopping = self.config.base.train.early_stopping
            kept = None if not values else values[-1] if stopping is None else min(values)
            if not self._over(values) or self._over(values[:-1]) or value != kept:
                raise Violated(f"trial {number} is COMPLETE after {len(curve)} epochs with {value}")
        if state == "PRUNED" and (self._over(values) or len(curve) not in self.rungs or number == 0):
            raise Violated(f"trial {number} is PRUNED after {len(curve)} epochs")
        query = (
            "SELECT failures FROM weightsearch_assignments JOIN trials USING (trial_id) WHERE study_id=? AND number=?"
        )
        for (failures,) in self.reader.execute(query, (self.study_id, number)):
            if not 0 <= failures <= self.deaths[number]:
                raise Violated(f"trial {number} has {failures} failures, its workers died {self.deaths[number]} times")
            if state == "FAIL" and failures != self.config.base.resources.max_failures + 1:
                raise Violated(f"trial {number} is FAIL after {failures} failures")

    def _check_owners(self) -> None:
        """No trial is trained for two drivers that both hold a lease; what is RUNNING belongs to somebody."""
        leases = {row[0] for row in self.reader.execute("SELECT driver_id FROM weightsearch_drivers")}
        held = [
            trial.config["number"]  # what a driver still believes of a worker that is gone does no harm
            for machine in self.machines
            if machine.driver and machine.driver.lease.driver_id in leases
            for trial in machine.driver.trials
            if trial.config["number"] in machine.driver.ledger.running
        ]
        if len(held) != len(set(held)):
            raise Violated(f"two drivers hold the same trial: {held}")
        query = (
            "SELECT number, count(driver_id) FROM trials LEFT JOIN weightsearch_assignments USING (trial_id) "
            "WHERE study_id = ? AND state = 'RUNNING' GROUP BY number"
        )
        for number, owners in self.reader.execute(query, (self.study_id,)):
            if owners != 1:
                raise Violated(f"RUNNING trial {number} is assigned {owners} times")

    def _check_stored(self, number: int, result: dict[str, Any]) -> None:
        """A report of the trial's attempt that was answered is in the database."""
        report = json.loads(result["report"])
        (trial_id,) = (one[1] for one in self._trials() if one[0] == number)
        curve, _, attempt = self._curve(trial_id)
        if attempt == report["attempt"] and any(record["epoch"] not in curve for record in report["records"]):
            raise Violated(f"a report of trial {number} was answered and is not stored")

    def check_end(self) -> None:
        """Nothing is left, and nothing is missing."""
        states = [state for _, _, state, _ in self._trials()]
        if len(states) != self.config.search.trials or not set(states) <= set(FINISHED):
            raise Violated(f"the study ended with {states}")
        if self.alone and "FAIL" in states:
            raise Violated("a trial failed")
        for number, _, _, values, _, curves in self.outcome():
            last = [curve[-1] for curve in curves if curve]
            if values is not None and self.config.base.train.early_stopping is None and values != last:
                raise Violated(f"trial {number} ended with {values}, its last epoch has {last}")

    def outcome(self) -> list[tuple[Any, ...]]:
        """Numbers, parameters, states, values, Optuna's curve and ours."""
        store = self.machines[0].store
        return [
            (
                one.number,
                one.params,
                one.state,
                one.values,
                one.intermediate_values,
                [store.curve(one.number, name) for name in self.config.search.objectives],
            )
            for one in store.trials()
        ]

    def _trials(self) -> list[tuple[int, int, str, float | None]]:
        query = (
            "SELECT number, trials.trial_id, state, value FROM trials "
            "LEFT JOIN trial_values ON trial_values.trial_id = trials.trial_id AND objective = 0 "
            "WHERE study_id = ? ORDER BY number"
        )
        return self.reader.execute(query, (self.study_id,)).fetchall()

    def _curve(self, trial_id: int) -> tuple[dict[int, float], dict[int, float], str]:
        """Epoch -> value in Optuna's table, epoch -> attempt in ours, and the attempt that they belong to. Of several
        objectives Optuna keeps no curve: then the values are ours as well."""
        ours = (
            "SELECT epoch, value FROM weightsearch_measurements JOIN weightsearch_epochs USING (trial_id, epoch) "
            "WHERE trial_id = ? AND name = 'validation/{}' ORDER BY epoch"
        )
        values = "SELECT step, intermediate_value FROM trial_intermediate_values WHERE trial_id = ? ORDER BY step"
        if len(self.config.search.objectives) > 1:
            values = ours.format("abs_rel")
        tags = ours.format("attempt")
        row = self.reader.execute("SELECT attempt FROM weightsearch_trials WHERE trial_id = ?", (trial_id,)).fetchone()
        return (
            dict(self.reader.execute(values, (trial_id,)).fetchall()),
            dict(self.reader.execute(tags, (trial_id,)).fetchall()),
            "" if row is None else row[0],
        )


def _config(assignment: Assignment) -> dict[str, Any]:
    fractional, consistency = (assignment.configuration.loss[name].weight for name in ("fractional", "consistency"))

    def value(epoch: int) -> float:
        """A made-up training: better with more consistency, and with every epoch; of every third trial the second
        epoch is worse than the first."""
        worse = 0.3 if assignment.number % 3 == 1 and epoch == 2 else 0.0
        return 0.1 + 0.05 * fractional / (fractional + 10 * consistency) + 0.2 / epoch + worse

    def other(epoch: int) -> float:
        """Higher is better: mostly what has the better value, and some trials more than others."""
        return 1.0 - value(epoch) + 0.03 * (3 * assignment.number % 5)

    return {
        "number": assignment.number,
        "failures": assignment.failures,
        "order": assignment.order,
        "log": "none",
        "value": value,
        "other": other,
    }


def _rungs(config: StudyConfig) -> list[int]:
    """The epochs after which a trial may be pruned."""
    pruner = config.search.pruner
    if pruner.name != "non_dominated":
        return list(range(1, EPOCHS))
    return [pruner.options["factor"] ** rung for rung in range(EPOCHS)]


def _busy() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("the simulation's database is away")
    error.sqlite_errorname = "SQLITE_BUSY"
    return error


def make_spec(folder: Path, seed: int, *, alone: bool) -> StudyConfig:
    """A study of a few trials with one of the pruners and samplers, from the seed; some have two objectives."""
    choice = random.Random(seed)
    path = folder / "simulated.yaml"
    if not path.exists():
        path.write_text(TINY)
    sets = [
        f"train.epochs={EPOCHS}",
        f"search.trials={choice.randint(3, 5)}",
        "search.baselines={published: {loss.fractional.weight: 10, loss.consistency.weight: 0.5}}",
        f"search.pruner={choice.choice(['successive_halving', 'hyperband', 'median', 'none'])}",
        f"search.sampler={choice.choice(['random', '{name: tpe, startup_trials: 2}', '{name: grid, points: 3}'])}",
        "search.max_consecutive_failures=null",
        f"resources.max_failures={10_000 if alone else choice.randint(0, 2)}",
        f"seed={choice.randint(0, 99)}",
        f"train.early_stopping={choice.choice(['null', '{patience: 1}', '{patience: 2}'])}",
    ]
    if choice.random() < 0.25:
        sets.append("search.objectives={abs_rel: minimize, a1: maximize}")
        sets.append(f"search.pruner={{name: non_dominated, factor: {choice.choice([2, 3])}}}")
    return load_study(path, sets)


class Simulator:
    """Runs schedules in a folder. The same seed gives the same schedule."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._arenas: tuple[Arena, Arena] | None = None
        self._used = 0

    def __call__(self, seed: int, steps: int = 120) -> World:
        """One schedule, checked. Odd seeds are of one driver with one worker: there the study is compared with the one
        that nothing disturbs. Raises Violated."""
        alone = seed % 2 == 1
        config = make_spec(self.folder, seed, alone=alone)
        arena, quiet = self._files()
        arena.now = 0.0
        world = World(arena, config, f"s{seed}", seed, alone=alone)
        try:
            world.run(steps)
            if alone:
                # Of the same name, in another file: Hyperband takes a trial's bracket from the study's name.
                calm = World(quiet, config, f"s{seed}", seed, alone=True, faults=False)
                calm.run(0)
                calm.close()
                if world.outcome() != calm.outcome():
                    raise Violated(f"the study {world.outcome()} differs from the undisturbed one {calm.outcome()}")
        except Exception as problem:
            raise Violated(f"seed {seed}: {problem!r} (after: {', '.join(world.log)})") from problem
        finally:
            world.close()
        return world

    def close(self) -> None:
        for arena in self._arenas or ():
            arena.close()
            for file in self.folder.glob(f"{arena.path.name}*"):
                file.unlink()
        self._arenas = None

    def _files(self) -> tuple[Arena, Arena]:
        """New ones now and then: what Optuna asks of a file grows with its studies."""
        if self._arenas is None or self._used == STUDIES:
            self.close()
            self._arenas = Arena(self.folder / "arena.db"), Arena(self.folder / "calm.db")
            self._used = 0
        self._used += 1
        return self._arenas
