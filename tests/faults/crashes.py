"""A study whose processes are killed at random, until it is done: real Ray, real trainings, real databases.

The driver, a worker, one of Ray's own processes or PostgreSQL gets SIGKILL at a random moment; the driver is started
again whenever it has ended, PostgreSQL after a while. At the end the database is looked at: no trial is RUNNING, none
that had ended was trained again or changed, no curve mixes attempts, and with one worker the study is the one that
nothing disturbed. From one seed come the victims and the moments; what they hit is the machine's to decide.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.conftest import ROOT, TINY
from tests.processes import of_kind
from tests.servers import Postgres

COMMAND = [sys.executable, "-m", "weightsearch"]
EPOCHS = 8
STUDY = (
    TINY.replace("sqlite:///tiny.db", "${WEIGHTSEARCH_STORAGE}")
    .replace("epochs: 4, batch_size: 4", f"epochs: {EPOCHS}, batch_size: 1")
    .replace("scenes: 2, frames: 16", "scenes: 3, frames: 16")
    .replace("min_epochs: 1", "min_epochs: 2")
)
PATIENCE = 240.0  # seconds of a driver that nobody disturbs

Row = tuple[Any, ...]


@dataclass
class Crashes:
    """kills: by victim. restarts: of drivers. seen: finished trials, as they first were."""

    folder: Path
    url: str
    seed: int
    workers: int
    server: Postgres | None = None
    kills: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    seen: dict[int, Row] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "study.yaml").write_text(STUDY)
        self.environment = {**os.environ, "WEIGHTSEARCH_STORAGE": self.url, "PYTHONPATH": str(ROOT)}
        self.words = [f"resources.max_concurrent={self.workers}", "resources.max_failures=1000"]

    def run(self, kills: int, seconds: float = float("inf")) -> None:
        """Run the study to its end; kill until `kills` have been or the time is up, then let it finish."""
        end = time.monotonic() + seconds
        driver: subprocess.Popen[bytes] | None = None
        try:
            while True:
                if driver is None:
                    driver = self.start()
                calm = sum(self.kills.values()) >= kills or time.monotonic() > end
                if not calm:
                    victim = self._victim(driver)
                    if driver.poll() is None:
                        self._kill(driver, victim)
                elif not self._wait(driver, PATIENCE):
                    raise AssertionError(f"the driver does not come to its end: {self.said()}")
                if driver.poll() is not None:
                    self._look()
                    status, driver = driver.wait(), None
                    if status == 0:
                        return
                    if status == 2:
                        raise AssertionError(f"the driver found a fault in what it was given: {self.said()}")
                    self.restarts += 1
        finally:
            if driver is not None and driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()

    def check(self, whole: list[Row] | None = None) -> list[Row]:
        """Raise AssertionError for whatever must not be. whole: the outcome of the study that ran through."""
        self._look()
        found = outcome(self.url)
        states = Counter(state for _, state, *_ in found)
        assert not self.problems, self.problems
        assert sum(states.values()) == 6, states
        assert set(states) <= {"COMPLETE", "PRUNED"}, states
        for number, state, value, _, curve, contents in found:
            assert [epoch for epoch, _ in curve] == list(range(1, len(curve) + 1)), (number, curve)
            assert [epoch for epoch, _ in contents] == [epoch for epoch, _ in curve], (number, contents)
            assert all(mine == his for (_, mine), (_, his) in zip(contents, curve, strict=True)), (number, contents)
            assert state != "COMPLETE" or (len(curve) == EPOCHS and value == curve[-1][1]), (number, curve)
        if whole is not None:
            assert found == whole, (found, whole)
        return found

    def start(self) -> subprocess.Popen[bytes]:
        sets = [word for change in self.words for word in ("--set", change)]
        with (self.folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                [*COMMAND, "run", "study.yaml", *sets],
                cwd=self.folder,
                env=self.environment,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def _wait(self, driver: subprocess.Popen[bytes], seconds: float) -> bool:
        """True if the driver has ended."""
        try:
            driver.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _victim(self, driver: subprocess.Popen[bytes]) -> str:
        """Who is to die, once it lives and a random time has passed."""
        kinds = ["driver", "driver", "worker", "worker", "raylet", "gcs_server"]
        victim = self.random.choice(kinds + (["postgres"] * 3 if self.server is not None else []))
        if victim in ("driver", "postgres"):
            self._wait(driver, self.random.uniform(0.5, 15))
            return victim
        end = time.monotonic() + PATIENCE
        while not of_kind(driver.pid, victim) and not self._wait(driver, 0.2):
            assert time.monotonic() < end, f"no {victim} starts: {self.said()}"
        self._wait(driver, self.random.uniform(0, 5))
        return victim

    def _kill(self, driver: subprocess.Popen[bytes], victim: str) -> None:
        if victim == "postgres" and self.server is not None:
            self.server.kill()
            time.sleep(self.random.uniform(0, 4))
            self.server.start()
        else:
            pids = [driver.pid] if victim == "driver" else of_kind(driver.pid, victim)
            try:
                os.kill(self.random.choice(pids), signal.SIGKILL)
            except (IndexError, ProcessLookupError):  # it ended by itself
                return
        self.kills[victim] += 1
        if victim == "driver":
            driver.wait()

    def _look(self) -> None:
        """Check that trials which have ended do not change."""
        for row in outcome(self.url) if exists(self.url) else []:
            if row[1] in ("COMPLETE", "PRUNED", "FAIL") and self.seen.setdefault(row[0], row) != row:
                self.problems.append(f"trial {row[0]} had ended as {self.seen[row[0]]} and became {row}")
        gone = sorted(self.seen.keys() - {row[0] for row in outcome(self.url)}) if self.seen else []
        if gone:
            self.problems.append(f"the trials {gone} had ended and are gone")

    def said(self) -> str:
        return (self.folder / "said.txt").read_text(errors="replace")


def whole_study(folder: Path) -> list[Row]:
    """The outcome of the study with one worker and without faults."""
    crashes = Crashes(folder, f"sqlite:///{folder}/study.db", 0, 1)
    crashes.run(0)
    return crashes.check()


def exists(url: str) -> bool:
    engine = sa.create_engine(url)
    try:
        return sa.inspect(engine).has_table("weightsearch_epochs")
    finally:
        engine.dispose()


def outcome(url: str) -> list[Row]:
    """Number, state, value, parameters, Optuna's curve and ours of every trial."""
    engine = sa.create_engine(url)
    text = sa.text
    try:
        with engine.connect() as connection:
            trials = connection.execute(text("SELECT trial_id, number, state FROM trials ORDER BY number")).all()
            values = dict(connection.execute(text("SELECT trial_id, value FROM trial_values")).all())  # type: ignore[arg-type]
            params = connection.execute(text("SELECT trial_id, param_name, param_value FROM trial_params")).all()
            curves = connection.execute(
                text("SELECT trial_id, step, intermediate_value FROM trial_intermediate_values ORDER BY step")
            ).all()
            ours = connection.execute(
                text(
                    "SELECT m.trial_id, m.epoch, m.value FROM weightsearch_measurements m JOIN weightsearch_epochs e "
                    "ON m.trial_id = e.trial_id AND m.epoch = e.epoch "
                    "WHERE m.name = 'validation/abs_rel' ORDER BY m.epoch"
                )
            ).all()
    finally:
        engine.dispose()
    return [
        (
            number,
            state,
            values.get(trial),
            sorted((name, value) for of, name, value in params if of == trial),
            [(step, value) for of, step, value in curves if of == trial],
            [(epoch, value) for of, epoch, value in ours if of == trial],
        )
        for trial, number, state in trials
    ]


def describe(crashes: Crashes) -> str:
    return json.dumps({"seed": crashes.seed, "kills": dict(crashes.kills), "restarts": crashes.restarts})
