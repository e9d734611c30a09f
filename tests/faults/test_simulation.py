"""A slice of what benchmarks/faults.py runs whole; a schedule that fails names its seed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ray.tune.search import Searcher

from tests.faults.cluster import TuneStandIn
from tests.faults.simulation import Simulator, Violated
from weightsearch.search import scheduler
from weightsearch.search.admission import Claims
from weightsearch.search.ledger import Ledger
from weightsearch.search.outbox import Outbox
from weightsearch.search.scheduler import LedgerScheduler
from weightsearch.search.searcher import LedgerSearcher
from weightsearch.study.lease import Lease
from weightsearch.study.writer import Writer

pytestmark = pytest.mark.slow

BLOCK = 20


@pytest.fixture
def simulate(tmp_path_factory):
    simulator = Simulator(tmp_path_factory.mktemp("simulation"))
    yield simulator
    simulator.close()


@pytest.mark.parametrize("first", range(0, 80, BLOCK))
def test_whatever_dies_the_study_is_whole(simulate, first):
    """Every invariant after every step; at the end as many trials have ended as the study has."""
    for seed in range(first, first + BLOCK):
        world = simulate(seed)
        assert sorted(world.ended) == list(range(world.config.search.trials))


@pytest.mark.parametrize("seed", [4, 5])
def test_the_same_seed_gives_the_same_schedule(tmp_path, seed):
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        simulator = Simulator(tmp_path / name)
        world = simulator(seed)
        found.append((world.log, world.ended, len(world.attempts), world.arena.now))
        simulator.close()
    assert found[0] == found[1]


def without_a_fence(monkeypatch):
    monkeypatch.setattr(Lease, "check", lambda *_: None)


def with_curves_that_mix(monkeypatch):
    monkeypatch.setattr(Writer, "_remove_epochs", lambda *_: None)


def with_late_news_taken(monkeypatch):
    taken = Ledger.report

    def report(self, number, attempt, *words, **options):
        return taken(self, number, replace(attempt, order=self.order), *words, **options)

    monkeypatch.setattr(Ledger, "report", report)


def with_a_death_counted_twice(monkeypatch):
    added = LedgerScheduler.on_trial_add

    def on_trial_add(self, *words):
        added(self, *words)
        self.just_added.clear()

    monkeypatch.setattr(LedgerScheduler, "on_trial_add", on_trial_add)


def with_a_report_dropped(monkeypatch):
    flushed = Outbox.flush

    def flush(self):
        if len(self.waiting) > 1:
            self.waiting.pop()
        return flushed(self)

    monkeypatch.setattr(Outbox, "flush", flush)


def with_assignments_forgotten(monkeypatch):
    monkeypatch.setattr(Writer, "assigned", lambda _: [])


def with_data_that_are_away_a_fault_of_the_trial(monkeypatch):
    monkeypatch.setattr(scheduler, "STOPPING", ())


def with_trials_claimed_without_a_place(monkeypatch):
    monkeypatch.setattr(Claims, "_has_place", lambda *_: True)


def with_idle_workers_kept(monkeypatch):
    monkeypatch.setattr(TuneStandIn, "release", lambda _: None)


def with_a_round_that_never_ends(monkeypatch):
    """As long as Ray Tune has no trial it does nothing but ask for one, and its last worker keeps its place."""
    suggest = LedgerSearcher.suggest

    def waits(self, trial_id):
        found = suggest(self, trial_id)
        return None if found == Searcher.FINISHED and not self.claims.outbox.done() else found

    monkeypatch.setattr(LedgerSearcher, "suggest", waits)


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (without_a_fence, "Cannot tell a WAITING trial"),
        (with_curves_that_mix, "is not what its attempt trained"),
        (with_late_news_taken, "has the epochs"),
        (with_a_death_counted_twice, "failures, its workers died"),
        (with_a_report_dropped, "does not come to its end"),
        (with_assignments_forgotten, "does not come to its end"),
        (with_data_that_are_away_a_fault_of_the_trial, "the study goes on though the data"),
        (with_trials_claimed_without_a_place, "was claimed without a place"),
        (with_idle_workers_kept, "keeps its place|does not come to its end"),
        (with_a_round_that_never_ends, "Ray Tune keeps a worker while no trial runs"),
    ],
)
def test_the_simulation_finds_what_is_broken(simulate, monkeypatch, broken, found):
    """Each of these is one line of the program taken out; found: the invariant that does not hold then."""
    broken(monkeypatch)

    def many() -> None:
        for seed in range(300):
            simulate(seed)

    with pytest.raises(Violated, match=found):
        many()
