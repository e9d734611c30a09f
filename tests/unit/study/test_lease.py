from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from tests.conftest import ROOT
from tests.processes import fields
from tests.stores import NOBODY, STORED, ask, attempt, driving, record, report
from weightsearch.errors import StudyHeld
from weightsearch.study.lease import Lease, holders
from weightsearch.study.process import Process
from weightsearch.study.store import StudyStore
from weightsearch.study.writer import Writer


class Clock:
    """The database's clock, set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_driver(storage, clock):
    """Drivers of one study, of which nothing is known but their heartbeats."""
    stores: list[StudyStore] = []

    def make(*, join: bool = False, process: Process = NOBODY) -> Writer:
        stores.append(StudyStore.create(storage, "s", ["minimize"], STORED, clock=clock))
        return Writer(stores[-1], Lease.take(stores[-1], join=join, seconds=30, process=process))

    yield make
    for store in stores:
        store.close()


def test_a_second_driver_is_told_who_holds_the_study(open_driver, clock):
    open_driver(process=replace(NOBODY, owner="ann@gpu1", pid=4711))
    clock.now += 12
    with pytest.raises(StudyHeld) as error:
        open_driver()
    assert "is being run by ann@gpu1 (process 4711, last heard 12 s ago)" in str(error.value)
    assert "if that process is dead, try again in 18 s" in str(error.value)
    assert error.value.exit_status == 3


def test_drivers_that_join_have_their_own_trials(open_driver):
    one, two = open_driver(), open_driver(join=True)
    assert [ask(one), ask(two), ask(one)] == [0, 1, 2]
    assert one.assigned() == [0, 2]
    assert two.assigned() == [1]
    assert [other.driver_id for other in one.others()] == [two.lease.driver_id]
    two.lease.release()
    assert one.others() == []
    assert one.store.trial(1).state == TrialState.WAITING
    assert one.assigned() == [0, 2]


def test_a_dead_drivers_trials_are_taken_over_exactly_once(open_driver, clock):
    dead = open_driver()
    numbers = [ask(dead), ask(dead)]
    clock.now += 29
    with pytest.raises(StudyHeld):
        open_driver()
    clock.now += 2
    one, two = open_driver(), open_driver(join=True)
    assert [ask(one, 9), ask(two, 9)] == numbers
    assert ask(two, 9) == 2
    assert dead.store.trial(0).params == one.store.trial(0).params


def test_a_driver_that_was_taken_over_writes_nothing_more(open_driver, clock):
    slow = open_driver()
    number = ask(slow)
    report(slow, number, attempt("slow"), record(1))
    clock.now += 31
    other = open_driver()
    assert ask(other) == number
    report(other, number, attempt("other", resumed_from=1), record(1), record(2, 4.0))
    before = other.store.trial(number)
    for act in (
        lambda: slow.record(number, attempt("slow"), record(2)),
        lambda: slow.complete(number),
        lambda: slow.fail(number, "late"),
        lambda: slow.put_back(number),
        lambda: ask(slow),
        slow.lease.renew,
    ):
        with pytest.raises(
            StudyHeld, match="another driver took over the study 's'.*; work beside .* run STUDY --join$"
        ):
            act()
    assert other.store.trial(number) == before
    assert len(other.store.trials()) == 1


def test_a_late_driver_goes_on_if_nobody_took_over(open_driver, clock):
    slow = open_driver()
    number = ask(slow)
    clock.now += 3600  # a laptop was asleep
    assert report(slow, number, attempt(), record(1)) == [True]
    clock.now += 29
    with pytest.raises(StudyHeld):
        open_driver()


@pytest.mark.parametrize("first", [0, 1])
def test_an_outage_of_the_database_ends_no_living_drivers_lease(open_driver, clock, first):
    drivers = open_driver(), open_driver(join=True)
    numbers = [ask(driver) for driver in drivers]
    clock.now += 40  # neither could renew
    early, late = drivers[first], drivers[1 - first]
    assert early.reclaim() == []
    clock.now += 29
    early.lease.renew()
    assert early.reclaim() == []
    assert report(late, numbers[1 - first], attempt(), record(1)) == [True]


def test_a_driver_that_leaves_after_an_outage_takes_no_living_driver_over(open_driver, clock):
    leaves, lives = open_driver(), open_driver(join=True)
    number = ask(lives)
    clock.now += 40
    leaves.lease.release()
    assert report(lives, number, attempt(), record(1)) == [True]


def test_an_outage_of_one_study_is_none_of_another(storage, clock):
    with (
        driving(storage, "one", process=NOBODY, clock=clock) as one,
        driving(storage, "two", process=NOBODY, clock=clock) as dead,
    ):
        ask(dead)
        clock.now += 40
        one.lease.renew()
        with driving(storage, "two", process=NOBODY, clock=clock) as other:
            assert ask(other) == 0


def test_after_an_outage_the_trials_of_a_driver_that_died_before_it_or_in_it_are_taken_over(open_driver, clock):
    one, before, during = open_driver(), open_driver(join=True), open_driver(join=True)
    numbers = [ask(driver) for driver in (one, before, during)]
    for _ in range(2):
        clock.now += 20
        for living in (one, during):
            living.lease.renew()
    clock.now += 40  # the database was away; `during` died meanwhile
    assert one.reclaim() == [numbers[1]]
    clock.now += 20
    one.lease.renew()
    assert one.reclaim() == []
    clock.now += 11
    assert one.reclaim() == [numbers[2]]


def test_a_dead_process_on_this_machine_need_not_be_waited_for(storage):
    code = (
        "import os, sys; from tests.stores import *\n"
        "with driving(sys.argv[1]) as writer:\n"
        "    ask(writer)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, storage], cwd=ROOT, check=False).returncode == -9
    started = time.monotonic()
    with driving(storage) as writer:
        assert ask(writer) == 0
    assert time.monotonic() - started < 10


def test_leaving_lets_the_trials_wait(storage):
    with driving(storage) as writer:
        ask(writer)
    with driving(storage) as writer:
        assert [trial.state for trial in writer.store.trials()] == [TrialState.WAITING]
        with writer.store.database.reading() as connection:
            assert len(holders(writer.store, connection)) == 1


def test_a_lease_is_renewed_while_the_driver_is_busy(storage):
    store = StudyStore.create(storage, "s", ["minimize"], STORED)
    lease = Lease.take(store, seconds=0.8, process=NOBODY)
    with lease.heartbeat():
        for _ in range(8):
            time.sleep(0.25)
            with store.database.reading() as connection:
                (holder,) = holders(store, connection)
            assert holder.left > 0
    assert lease.answers >= 5
    assert not lease.lost
    assert not [thread for thread in threading.enumerate() if thread.name == "weightsearch-lease"]
    store.close()


class TestProcess:
    def test_this_one_lives(self):
        assert not Process.current().is_gone()
        assert Process.from_plain(Process.current().to_plain()) == Process.current()

    def test_one_that_was_killed_is_gone_even_before_its_parent_looks(self):
        child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
        child.start()
        living = replace(Process.current(), pid=child.pid, started=fields(child.pid)[19])
        assert not living.is_gone()
        child.kill()
        time.sleep(0.3)  # a zombie: nobody has waited for it
        assert living.is_gone()
        child.join()
        assert living.is_gone()

    def test_a_number_that_was_given_again_is_another_process(self):
        assert replace(Process.current(), started="1").is_gone()

    def test_before_this_machine_started_again(self):
        here = Process.current()
        assert replace(here, boot="earlier").is_gone() == (here.machine != "")  # which containers do not know

    @pytest.mark.parametrize("change", [{"namespace": "pid:[1]"}, {"boot": "b", "machine": "other"}, {"boot": ""}])
    def test_nothing_is_known_of_another_machine_or_container(self, change):
        assert not replace(Process.current(), pid=2**22 + 1, **change).is_gone()
