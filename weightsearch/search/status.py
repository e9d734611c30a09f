"""What the live view shows of a search, kept up from the ledger's events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from weightsearch.search.ledger import Event
from weightsearch.study.summary import StudySummary


@dataclass
class Status:
    """states: trials by state. running: number -> epochs done. values: finished full trials' objective by number.
    baselines: name -> number. objective: the first one, on the validation split."""

    objective: str
    minimize: bool
    total: int
    epochs: int
    states: dict[str, int]
    values: dict[int, float] = field(default_factory=dict)
    baselines: dict[str, int] = field(default_factory=dict)
    running: dict[int, int] = field(default_factory=dict)
    started: float = 0.0
    ended_here: int = 0
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(cls, summary: StudySummary, total: int, epochs: int, clock: Callable[[], float] = time.monotonic) -> Status:
        """The state at the start of a driver, of trials that earlier ones ended."""
        name, direction = next(iter(summary.directions.items()))
        states = {state: summary.states[state] for state in ("COMPLETE", "PRUNED", "FAIL")}
        values = {trial.number: trial.values[name] for trial in summary.trials if trial.state == "COMPLETE"}
        baselines = {known: trial.number for known, trial in summary.baselines.items()}
        status = cls(name, direction == "minimize", total, epochs, states, values, baselines, clock=clock)
        status.started = clock()
        return status

    def take(self, event: Event) -> None:
        if event.baseline is not None:
            self.baselines[event.baseline] = event.number
        if event.kind == "started":
            self.running[event.number] = 0
        elif event.kind == "epoch" and event.record is not None:
            self.running[event.number] = event.record.epoch
            if self.objective in event.record.metrics:
                self.values[event.number] = event.record.metrics[self.objective]
        else:
            state = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[event.kind]
            self.states[state] += 1
            self.ended_here += 1
            self.running.pop(event.number, None)
            if state != "COMPLETE":
                self.values.pop(event.number, None)

    @property
    def ended(self) -> int:
        return sum(self.states.values())

    def best(self) -> tuple[int, float] | None:
        """Number and value of the best full trial so far."""
        full = {number: value for number, value in self.values.items() if number not in self.running}
        if not full:
            return None
        number = min(full, key=lambda one: full[one] if self.minimize else -full[one])
        return number, full[number]

    def baseline_values(self) -> dict[str, float]:
        """The value of every baseline that trained to the end."""
        return {
            name: self.values[number]
            for name, number in self.baselines.items()
            if number in self.values and number not in self.running
        }

    def elapsed(self) -> float:
        """Seconds since this driver started."""
        return self.clock() - self.started

    def seconds_left(self) -> float | None:
        """From the pace of the trials that ended since this driver started; None before the first."""
        if not self.ended_here:
            return None
        return self.elapsed() / self.ended_here * (self.total - self.ended)
