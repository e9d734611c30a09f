"""The sharing of a cluster's places between drivers and other jobs."""

from __future__ import annotations

import pytest

from tests.faults.cluster import SharedBroker, SharedCluster
from weightsearch.search.places import HOLD_SECONDS, LOOK_SECONDS, Places, Request


class Job:
    """A driver with more trials than it will ever train; each takes `seconds`. It works as search/claims.py does."""

    def __init__(self, world: World, name: str, seconds: float) -> None:
        self.world = world
        self.name = name
        self.seconds = seconds
        self.places = Places(SharedBroker(world.cluster, name), lambda: world.now)
        self.ends: list[tuple[float, object]] = []  # time and place of each running trial
        self.trials = 0
        self.starts = 0  # of workers

    def tick(self) -> None:
        for end, place in list(self.ends):
            if end <= self.world.now:
                self.ends.remove((end, place))
                self.trials += 1
                if self.places.give_one():
                    self.world.cluster.give_back(place)
                else:
                    self.ends.append((self.world.now + self.seconds, place))
        self.places.refresh()
        while (place := self.places.take()) is not None:
            self.starts += 1
            self.ends.append((self.world.now + self.seconds, place))
        self.places.want(self.world.cluster.places - len(self.ends))


class World:
    def __init__(self, places: int) -> None:
        self.cluster = SharedCluster(places)
        self.now = 0.0
        self.jobs: list[Job] = []

    def join(self, name: str, seconds: float = 5.0) -> Job:
        self.jobs.append(Job(self, name, seconds))
        return self.jobs[-1]

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.now += 0.25
            for job in self.jobs:
                job.tick()


@pytest.mark.parametrize(("places", "shares"), [(2, {1}), (4, {2}), (5, {2, 3}), (16, {8})])
def test_two_drivers_come_to_equal_shares_and_stay_there(places, shares):
    world = World(places)
    first = world.join("first")
    world.run(100)
    assert world.cluster.held("first") == places
    second = world.join("second")
    world.run(100)
    assert {world.cluster.held("first"), world.cluster.held("second")} == shares
    starts = first.starts, second.starts
    world.run(500)
    assert (first.starts, second.starts) == starts  # reused from there on


def test_three_drivers_share_too():
    world = World(6)
    for name in "abc":
        world.join(name)
        world.run(100)
    assert [world.cluster.held(name) for name in "abc"] == [2, 2, 2]


def test_an_only_place_goes_round_and_is_kept_for_a_while():
    world = World(1)
    first, second = world.join("first"), world.join("second")
    world.run(20 * HOLD_SECONDS)
    assert min(first.trials, second.trials) > 0.8 * max(first.trials, second.trials)
    assert first.starts + second.starts <= 20  # not one a trial


def test_a_driver_that_leaves_its_share_to_nobody_takes_it_back():
    world = World(4)
    world.join("first")
    second = world.join("second")
    world.run(100)
    world.jobs.remove(second)
    world.cluster.leave("second")
    world.run(10)
    assert world.cluster.held("first") == 4


def test_a_study_whose_trials_are_larger_gets_its_place():
    """A place of the other study is as large as four places of this driver."""
    world = World(8)
    world.join("small")
    world.run(50)
    large = world.cluster.ask("large", 4)
    world.run(60)
    assert large.granted
    assert world.cluster.held("small") == 4


def test_what_does_not_take_the_places_given_up_for_it_is_not_waited_for_for_ever():
    """The request waits for two places on one node, and no node has two."""
    world = World(2)
    job = world.join("first")

    class OnOneNode(SharedBroker):
        def requests(self):
            return [one if one.size < 9 else Request(one.key, one.job, one.granted, 2) for one in super().requests()]

    job.places.broker = OnOneNode(world.cluster, "first")
    world.run(50)
    world.cluster.ask("wide", 9)
    held = set()
    for _ in range(20):
        world.run(10)
        held.add(world.cluster.held("first"))
    assert 0 in held
    assert world.cluster.held("first") == 2


def test_a_place_is_not_given_for_what_it_cannot_serve():
    """A request that waits for a GPU, of a driver that has none."""
    world = World(1)

    class WithGpus(SharedBroker):
        def requests(self):
            found = super().requests()
            return [one if one.job == self.job else Request(one.key, one.job, one.granted, 1, False) for one in found]

    places = Places(WithGpus(world.cluster, "first"), lambda: world.now)
    places.want(1)
    assert places.refresh() == 1
    world.cluster.ask("gpus")
    for _ in range(100):
        world.now += LOOK_SECONDS
        assert not places.give_one()


def test_tickets_that_are_not_needed_are_given_back_those_that_wait_first():
    world = World(2)
    places = Places(SharedBroker(world.cluster, "first"), lambda: world.now)
    places.want(5)
    assert places.refresh() == 2
    places.want(2)
    assert (len(places.asked), places.refresh()) == (0, 2)
    places.want(0)
    assert (world.cluster.tickets, places.take()) == ([], None)


def test_who_gives_up_a_place_does_not_get_it_back_by_a_request_made_before():
    """Another job holds one of two places, so that this driver always waits for a second place."""
    world = World(2)
    world.cluster.ask("guest")
    first = world.join("first")
    world.run(2 * HOLD_SECONDS)
    second = world.join("second")
    world.run(12)
    assert (first.starts, second.starts) == (1, 1)
