"""The driver's decisions against a real database, with workers that are a function: no Ray."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.helpers.ledger_records import record
from tests.stores import NOBODY
from weightsearch.config import StudyConfig, load_study
from weightsearch.errors import SearchError, StoreError
from weightsearch.records import Environment, EpochRecord
from weightsearch.search.driver import check_unchanged
from weightsearch.search.ledger import Assignment, Event, Ledger, stored_config
from weightsearch.study.lease import Lease
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import summarise
from weightsearch.study.writer import Attempt, Writer

HERE = Environment("host", "cpu: x", 1, "", {})
TWO = "search.objectives={abs_rel: minimize, a1: maximize}"
# What a study is set to, by what is tested.
PRUNERS = {
    "successive_halving": ("search.pruner=successive_halving",),
    "hyperband": ("search.pruner=hyperband",),
    "median": ("search.pruner=median",),
    "none": ("search.pruner=none",),
    "non_dominated": ("search.pruner={name: non_dominated, factor: 2}", TWO),
}


def value_of(assignment: Assignment, epoch: int) -> float:
    """A made-up training: better with more consistency, and with every epoch."""
    fractional, consistency = (assignment.configuration.loss[name].weight for name in ("fractional", "consistency"))
    return 0.1 + 0.05 * fractional / (fractional + 10 * consistency) + 0.2 / epoch


def other_value_of(assignment: Assignment, epoch: int) -> float:
    """A value that is best without consistency and with a fractional weight of 1."""
    fractional, consistency = (assignment.configuration.loss[name].weight for name in ("fractional", "consistency"))
    off = abs(math.log10(fractional)) if fractional else 2.0
    return 0.5 + 0.2 * fractional / (fractional + 10 * consistency) - 0.1 * off - 0.2 / epoch


def attempt(number: int, resumed_from: int = 0, name: str = "", order: int = 0) -> Attempt:
    return Attempt(f"{number}-{resumed_from}-{name}", resumed_from, {}, HERE, order)


class Study:
    """A study with one driver at a time."""

    now = 0.0  # by the database's clock

    def __init__(self, tiny: Path, *sets: str) -> None:
        self.config: StudyConfig = load_study(tiny, sets)
        self.events: list[Event] = []
        objectives = list(self.config.search.objectives.values())
        made = stored_config(self.config)
        self.store = StudyStore.create(self.config.storage, self.config.name, objectives, made, clock=lambda: Study.now)
        self.reopen()

    def reopen(self) -> None:
        """As if the driver before had been killed: its trials are RUNNING in the database, its lease has ended."""
        Study.now += 60
        self.store.forget()
        self.writer = Writer(self.store, Lease.take(self.store, process=NOBODY))
        self.ledger = Ledger(self.config, self.writer, self.events.append)

    def train(self, assignment: Assignment) -> None:
        for epoch in range(1, 5):
            if self.ledger.report(
                assignment.number,
                attempt(assignment.number, order=assignment.order),
                [self.record(assignment, epoch)],
            ):
                return

    def record(self, assignment: Assignment, epoch: int) -> EpochRecord:
        """An epoch of the made-up training."""
        other = other_value_of(assignment, epoch) if "a1" in self.config.search.objectives else None
        return record(epoch, value_of(assignment, epoch), other)

    def run(self) -> None:
        while (assignment := self.ledger.next()) is not None:
            self.train(assignment)

    def outcome(self) -> list[tuple]:
        def curves(number: int) -> list[list[float]]:
            return [self.store.curve(number, name) for name in self.config.search.objectives]

        trials = self.store.trials()
        return [(t.number, t.state.name, t.params, t.values, t.intermediate_values, curves(t.number)) for t in trials]


@pytest.fixture
def study(tiny):
    made: list[Study] = []

    def make(*sets: str) -> Study:
        made.append(Study(tiny, *sets))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


def test_baselines_come_first_at_full_budget_and_are_never_pruned(study):
    one = study("search.trials=12")
    one.run()
    trials = one.store.trials()
    assert [trial.user_attrs.get("baseline") for trial in trials[:3]] == ["published", "depth_only", None]
    assert [trial.state for trial in trials[:2]] == [TrialState.COMPLETE] * 2
    assert [trial.last_step for trial in trials[:2]] == [4, 4]
    assert trials[0].params == {"loss.fractional.weight": 10, "loss.consistency.weight": 0.5}
    assert trials[1].params == {"loss.consistency.weight": 1}  # 0 is outside the log range


def test_every_trial_ends_and_the_study_has_exactly_its_trials(study):
    one = study("search.trials=20")
    one.run()
    states = summarise(one.store).states
    assert sum(states.values()) == 20
    assert states["RUNNING"] == states["WAITING"] == 0
    assert states["COMPLETE"] >= 3
    assert states["PRUNED"] >= 5


def test_pruned_trials_stop_at_the_rungs_and_complete_ones_at_the_end(study):
    one = study("search.trials=20")
    one.run()
    for trial in one.store.trials():
        assert list(trial.intermediate_values) == list(range(1, trial.last_step + 1))
        assert trial.last_step in ((1, 2, 4) if trial.state == TrialState.PRUNED else (4,))


def test_under_early_stopping_the_best_epoch_counts(study):
    one = study("search.pruner=none", "train.epochs=9", "train.early_stopping={patience: 2}")
    first = one.ledger.next()
    curve = [0.5, 0.3, 0.4, 0.2, 0.25, 0.2, 0.1]
    ends = [one.ledger.report(0, attempt(0), [record(epoch, value)]) for epoch, value in enumerate(curve[:6], start=1)]
    assert ends == [False, False, False, False, False, True]  # at 6: two epochs after the 4th, which 6 only equals
    trial = one.store.trials()[first.number]
    assert (trial.state, trial.value, trial.last_step) == (TrialState.COMPLETE, 0.2, 6)
    assert one.store.epoch_that_counts(0) == 4
    assert one.store.metrics(0) == {"abs_rel": 0.2}
    one.writer.record_test(0, {"abs_rel": 0.21})
    assert one.store.metrics(0, "test") == {"abs_rel": 0.21}
    second = one.ledger.next()
    ends = [one.ledger.report(1, attempt(1), [record(epoch, 1 / epoch)]) for epoch in range(1, 10)]
    assert ends == [False] * 8 + [True]
    assert one.store.trials()[second.number].value == 1 / 9


def test_the_value_is_that_of_the_last_epoch(study):
    one = study()
    one.run()
    for trial in one.store.trials():
        if trial.state == TrialState.COMPLETE:
            assert trial.value == trial.intermediate_values[4]


@pytest.mark.parametrize("sampler", ["{name: tpe, startup_trials: 3}", "random", "{name: grid, points: 4}"])
@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_same_seed_gives_the_same_study_however_often_it_is_left(study, tmp_path, sampler, pruner):
    sets = ("search.trials=14", f"search.sampler={sampler}", *PRUNERS[pruner])
    whole = study(*sets)
    whole.run()
    cut = study(*sets, f"storage=sqlite:///{tmp_path}/cut.db")
    while (assignment := cut.ledger.next()) is not None:
        if assignment.number % 3 == 1:
            cut.ledger.report(assignment.number, attempt(assignment.number), [cut.record(assignment, 1)])
            if assignment.number in cut.ledger.running:
                cut.reopen()
                again = cut.ledger.next()
                assert again == assignment
                assignment = again
            else:
                continue
        cut.train(assignment)
    assert cut.outcome() == whole.outcome()


def test_another_seed_gives_another_study(study, tmp_path):
    one, other = study(), study("seed=8", f"storage=sqlite:///{tmp_path}/other.db")
    one.run()
    other.run()
    assert [t[2] for t in one.outcome()[2:]] != [t[2] for t in other.outcome()[2:]]


def test_a_grid_is_walked_once_and_then_ends(study):
    one = study("search.trials=100", "search.sampler={name: grid, points: 3}", "search.pruner=none")
    one.run()
    searched = [tuple(t.params.values()) for t in one.store.trials() if "baseline" not in t.user_attrs]
    assert len(searched) == len(set(searched)) == 9
    assert sorted({a for a, _ in searched}) == pytest.approx([0.1, 10**0.5, 100])


def test_more_trials_extend_a_finished_study(study):
    one = study()
    one.run()
    before = one.outcome()
    more = study("search.trials=9")
    more.run()
    assert more.outcome()[:6] == before
    assert len(more.outcome()) == 9
    assert more.ledger.next() is None


def test_concurrent_trials_have_their_own_numbers_and_values(study):
    one = study("search.trials=10", "search.pruner=none")
    held = [one.ledger.next() for _ in range(5)]
    assert [assignment.number for assignment in held] == list(range(5))
    assert len({assignment.configuration.model_dump_json() for assignment in held}) == 5
    for assignment in reversed(held):
        one.train(assignment)
    assert [t[1] for t in one.outcome()] == ["COMPLETE"] * 5


def test_a_failure_has_its_reason_and_counts_as_a_trial(study):
    one = study()
    first = one.ledger.next()
    one.ledger.fail(first.number, "the loss term 'integer' is not finite, in epoch 1, step 3")
    one.run()
    summary = summarise(one.store)
    assert summary.states["FAIL"] == 1
    assert summary.trials[0].reason.startswith("the loss term 'integer'")
    assert sum(summary.states.values()) == 6


def test_late_news_of_an_ended_trial_is_ignored(study):
    one = study()
    first = one.ledger.next()
    one.train(first)
    before = one.outcome()
    assert one.ledger.report(first.number, attempt(0, name="late"), [record(4, 99.0)]) is True
    one.ledger.fail(first.number, "late")
    assert one.outcome() == before


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("moment", ["checkpointed", "before", "stored", "decided", "told", "after"])
def test_a_crash_around_a_report_changes_nothing(study, tmp_path, monkeypatch, pruner, moment):
    """At every epoch of every trial the driver dies: after the checkpoint was written and before it was reported;
    before anything was written; after the epoch was; after the pruner was asked; after the outcome was told; after all
    that was stored and before Ray was told."""
    sets = ("search.trials=14", *PRUNERS[pruner])
    whole = study(*sets)
    whole.run()
    cut = study(*sets, f"storage=sqlite:///{tmp_path}/cut.db")
    trained: dict[int, int] = {}  # what the checkpoints hold

    class Died(BaseException):
        pass

    def dying(function: Callable, *, after: bool) -> Callable:
        def wrapped(*words):
            if after:
                function(*words)
            raise Died

        return wrapped

    where = {
        "before": [(Writer, "record", False)],
        "stored": [(Writer, "record", True)],
        "decided": [(Writer, "complete", False), (Writer, "prune", False)],
        "told": [(Writer, "complete", True), (Writer, "prune", True)],
        "after": [(Ledger, "_ended", False)],
    }
    while (assignment := cut.ledger.next()) is not None:
        number = assignment.number
        done = trained.get(number, 0)
        history = [cut.record(assignment, epoch) for epoch in range(1, done + 1)]
        if history and cut.ledger.report(number, attempt(number, resumed_from=done), history):
            continue
        trained[number] = done + 1
        for owner, name, after in where.get(moment, ()):
            monkeypatch.setattr(owner, name, dying(getattr(owner, name), after=after))
        with suppress(Died):
            if moment != "checkpointed":
                new = [cut.record(assignment, done + 1)]
                cut.ledger.report(number, attempt(number, resumed_from=done), new)
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        cut.reopen()
    assert cut.outcome() == whole.outcome()


def test_what_fails_too_often_fails_under_all_drivers_together(study):
    one = study("resources.max_failures=2", "search.pruner=none")
    first = one.ledger.next()
    one.ledger.worker_failed(first.number, 1, "its process died", one.ledger.next_order())
    one.ledger.worker_failed(first.number, 1, "its process died", one.ledger.next_order())  # told twice
    one.reopen()
    again = one.ledger.next()
    assert (again.number, again.failures) == (0, 1)
    one.ledger.worker_failed(0, 2, "its process died", one.ledger.next_order())
    assert one.store.trials()[0].state == TrialState.RUNNING
    one.reopen()
    assert one.ledger.next().failures == 2
    one.ledger.worker_failed(0, 3, "its process died", one.ledger.next_order())
    assert one.store.trials()[0].state == TrialState.FAIL
    assert summarise(one.store).trials[0].reason == "its worker failed 3 times: its process died"
    one.run()
    assert summarise(one.store).states["COMPLETE"] == 5


def late(number: int, order: int) -> Attempt:
    """An attempt under this driver, by its order."""
    return Attempt(f"{number} in order {order}", 0, {}, HERE, order)


def test_what_was_put_back_is_heard_again_and_its_late_news_is_not(study):
    """Its worker failed, then Ray died: the next Ray's worker starts anew, and the first one's last epoch comes
    late."""
    one = study("search.pruner=none")
    first = one.ledger.next()
    one.ledger.worker_failed(first.number, 1, "its process died", one.ledger.next_order())
    assert one.ledger.put_back() == [0]
    again = one.ledger.next()
    assert (again.number, again.failures, again.order) == (0, 1, 2)
    for epoch in (1, 2):
        assert not one.ledger.report(0, late(0, 2), [record(epoch, 0.5)])
    for order in (0, 1):
        assert not one.ledger.report(0, late(0, order), [record(2, 0.9)])
    assert one.store.trials()[0].intermediate_values == {1: 0.5, 2: 0.5}
    for epoch in (3, 4):
        one.ledger.report(0, late(0, 2), [record(epoch, 0.5)])
    assert one.store.trials()[0].state == TrialState.COMPLETE


def test_a_worker_that_fails_before_it_runs_lets_its_trial_wait(study):
    """Ray gives such a trial up, whatever its count says."""
    one = study("search.pruner=none")
    first = one.ledger.next()
    one.ledger.worker_failed(first.number, 1, "its process died", None)
    assert one.ledger.running == {}
    again = one.ledger.next()
    assert (again.number, again.failures, again.order) == (0, 1, 1)
    assert not one.ledger.report(0, late(0, 0), [record(1, 0.9)])
    assert one.store.trials()[0].intermediate_values == {}


def test_a_failure_told_twice_takes_no_trial_from_another_driver(study):
    """The answer to the first telling got lost: it was stored, and another driver has taken up the trial since."""
    one = study("search.pruner=none")
    first = one.ledger.next()
    one.ledger.worker_failed(first.number, 1, "its process died", None)
    store = StudyStore.create(
        one.config.storage, one.config.name, ["minimize"], stored_config(one.config), clock=lambda: Study.now
    )
    other = Ledger(one.config, Writer(store, Lease.take(store, join=True, process=NOBODY)))
    assert other.next() == Assignment(0, first.configuration, first.baseline, failures=1)
    other.worker_failed(first.number, 2, "its process died", other.next_order())
    one.ledger.running[first.number] = first
    one.ledger.worker_failed(first.number, 1, "its process died", None)
    assert one.ledger.running == {}
    assert store.state(0) == TrialState.RUNNING
    assert other.writer.assigned() == [0]
    assert other.writer.failures(0) == 2
    store.close()


def test_a_study_is_not_done_while_it_lacks_trials(study):
    one = study()
    one.train(one.ledger.next())
    assert all(trial.state.is_finished() for trial in one.store.trials() if trial.number == 0)
    for _ in range(3):
        one.train(one.ledger.next())
    assert not one.ledger.done()
    one.run()
    assert one.ledger.done()


def test_a_fault_of_the_surroundings_stops_the_study_and_is_no_failure_of_the_trial(study):
    one = study("resources.max_failures=2", "search.pruner=none")
    first = one.ledger.next()
    one.ledger.worker_failed(first.number, 2, "no room", order=1)
    with pytest.raises(SearchError, match="stopped: trial 0: no room; nothing is lost: fix that, then resume with: w"):
        one.ledger.stop(first.number, "no room")
    assert one.ledger.writer.failures(0) == 0
    assert one.ledger.put_back() == [0]


def test_drivers_that_die_do_not_count_as_failures_of_the_trial(study):
    one = study("resources.max_failures=0", "search.pruner=none")
    for _ in range(5):
        assert one.ledger.next().failures == 0
        one.reopen()
    one.run()
    assert summarise(one.store).states["COMPLETE"] == 6


def test_trials_that_all_fail_stop_the_study_with_the_first_reason(study):
    one = study("search.trials=20", "search.max_consecutive_failures=3")
    one.train(one.ledger.next())
    for number in (1, 2):
        one.ledger.fail(one.ledger.next().number, f"no space left, said {number}")
    last = one.ledger.next()
    with pytest.raises(
        SearchError, match="the last 3 trials failed, the first of them: trial 1: no space left, said 1"
    ):
        one.ledger.fail(last.number, "no space left")
    assert summarise(one.store).states["FAIL"] == 3
    one.reopen()  # mended
    one.run()
    assert sum(summarise(one.store).states.values()) == 20


def test_a_failure_between_good_trials_stops_nothing(study):
    one = study("search.trials=20", "search.max_consecutive_failures=2", "search.pruner=none")
    while (assignment := one.ledger.next()) is not None:
        if assignment.number % 2:
            one.ledger.fail(assignment.number, "bad luck")
        else:
            one.train(assignment)
    assert summarise(one.store).states["FAIL"] == 10


def test_a_fault_that_would_end_every_trial_ends_none(study):
    one = study("search.pruner=none")
    first = one.ledger.next()
    one.ledger.worker_failed(
        first.number, 1, "cannot write the checkpoint: No space left on device", one.ledger.next_order()
    )
    with pytest.raises(SearchError, match="trial 0: cannot write the checkpoint: No space left on device; nothing is"):
        one.ledger.stop(first.number, "cannot write the checkpoint: No space left on device")
    assert one.ledger.put_back() == [0]
    one.reopen()
    assert one.ledger.next().failures == 0


def test_a_trial_assigned_without_an_answer_is_handed_out_again(study, monkeypatch):
    """The connection broke while the assignment was stored: it was, but nobody heard of it."""
    one = study()
    original = Ledger._assignment

    def broken(self, frozen):
        found = original(self, frozen)
        monkeypatch.setattr(Ledger, "_assignment", original)
        lost.append(found)
        return found

    lost: list[Assignment] = []
    monkeypatch.setattr(Ledger, "_assignment", broken)
    one.ledger.next()
    one.ledger.running.clear()
    assert one.ledger.next() == lost[0]
    one.run()
    assert sum(summarise(one.store).states.values()) == 6


def test_a_choice_of_whole_sections_has_its_own_epochs(study):
    one = study("train={choices: [{epochs: 4, lr: 1.0e-3}, {epochs: 2, lr: 1.0e-2}]}", "search.baselines={}")
    one.run()
    lengths = {(t.params["train"], t.last_step) for t in one.store.trials() if t.state == TrialState.COMPLETE}
    assert lengths <= {('{"epochs": 4, "lr": 0.001}', 4), ('{"epochs": 2, "lr": 0.01}', 2)}
    assert all(t.state.is_finished() for t in one.store.trials())


def test_a_baseline_outside_the_space_does_not_blind_the_sampler_to_the_rest(study, monkeypatch):
    from weightsearch.search.samplers.tpe import JointTPE

    asked: list[set[str]] = []
    original = JointTPE.sample_relative

    def spy(self, study, trial, space):
        asked.append(set(space))
        return original(self, study, trial, space)

    monkeypatch.setattr(JointTPE, "sample_relative", spy)
    one = study("search.trials=9")
    one.run()
    assert one.store.trials()[1].params == {"loss.consistency.weight": 1}
    assert all(space == {"loss.fractional.weight", "loss.consistency.weight"} for space in asked[-4:])


def test_a_fault_of_the_database_ends_the_search_with_its_own_line(study, monkeypatch):
    one = study()

    def locked(*_):
        raise StoreError("sqlite:///tiny.db: database is locked")

    monkeypatch.setattr(Writer, "ask", locked)
    with pytest.raises(StoreError), one.ledger.noting_faults():
        one.ledger.next()
    assert "locked" in str(one.ledger.fault)


def test_a_resumed_worker_fills_the_hole_a_crash_left(study):
    """The checkpoint of epoch 2 was written, its report never came."""
    one = study("search.pruner=none")
    first = one.ledger.next()
    one.ledger.report(first.number, attempt(0), [record(1, value_of(first, 1))])
    one.reopen()
    again = one.ledger.next()
    history = [record(e, value_of(again, e)) for e in (1, 2, 3)]
    assert one.ledger.report(again.number, attempt(0, resumed_from=2), history) is False
    assert list(one.store.trials()[0].intermediate_values) == [1, 2, 3]


def test_put_back_leaves_nothing_running(study):
    one = study()
    numbers = [one.ledger.next().number for _ in range(3)]
    assert one.ledger.put_back() == numbers
    assert summarise(one.store).states["RUNNING"] == 0
    one.run()
    assert sum(summarise(one.store).states.values()) == 6


def test_several_objectives(study):
    one = study(TWO, "search.pruner=none")
    while (assignment := one.ledger.next()) is not None:
        one.train(assignment)
        trial = one.store.trials()[assignment.number]
        assert trial.state == TrialState.COMPLETE
        assert trial.values == [value_of(assignment, 4), other_value_of(assignment, 4)]
    assert len(one.store.trials()) == 6


def goes_on(arrived: dict[int, tuple[float, float]], number: int, factor: int) -> bool:
    """Successive halving over abs_rel, lower is better, and a1, higher is better, as its definition has it."""
    left, best = dict(arrived), []
    while left:
        front = [
            one
            for one, (abs_rel, a1) in left.items()
            if not any(x <= abs_rel and y >= a1 and (x, y) != (abs_rel, a1) for x, y in left.values())
        ]
        by_abs_rel = sorted(front, key=lambda one: left[one][0])  # and so by a1 as well: it is a front
        width = left[by_abs_rel[-1]][0] - left[by_abs_rel[0]][0], left[by_abs_rel[-1]][1] - left[by_abs_rel[0]][1]

        def room(one: int, by_abs_rel=by_abs_rel, width=width, left=left) -> float:
            place = by_abs_rel.index(one)
            if place in (0, len(by_abs_rel) - 1):
                return math.inf
            below, above = left[by_abs_rel[place - 1]], left[by_abs_rel[place + 1]]
            return (above[0] - below[0]) / width[0] + (above[1] - below[1]) / width[1]

        best += sorted(front, key=lambda one: (-room(one), one))
        left = {one: both for one, both in left.items() if one not in front}
    return best.index(number) < max(1, len(arrived) // factor)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_two_objectives_the_pruner_decides_as_it_is_defined(study, seed):
    """Four workers whose reports come in any order; some trials fail, and drivers die whose trials are trained anew,
    with other values, from the first epoch."""
    chance = random.Random(seed)
    one = study("search.trials=30", f"search.pruner={{name: non_dominated, factor: {2 + seed % 2}}}", TWO)
    rungs: dict[int, dict[int, tuple[float, float]]] = {1: {}, 2: {}, 3: {}, 4: {}}
    running: dict[int, list] = {}  # by number: assignment, its attempt, epochs of it
    decisions: list[bool] = []
    attempts = 0
    while True:
        while len(running) < 4 and (assignment := one.ledger.next()) is not None:
            attempts += 1
            running[assignment.number] = [assignment, f"try {attempts}", 0]
        if not running:
            break
        number = chance.choice(sorted(running))
        assignment, name, done = running[number]
        what = chance.random()
        if what < 0.04 and len(decisions) < 30:
            one.reopen()
            running.clear()
            continue
        if what < 0.08:
            one.ledger.fail(number, "bad luck")
            del running[number]
            one.ledger.failed_in_a_row.clear()
            continue
        epoch, both = done + 1, (chance.random() / (done + 1), chance.random())
        if epoch == 1:
            for arrived in rungs.values():
                arrived.pop(number, None)
        rungs[epoch][number] = both
        ended = one.ledger.report(number, attempt(number, name=name, order=assignment.order), [record(epoch, *both)])
        if epoch < 4:
            on_rung = epoch in ((1, 2) if seed % 2 == 0 else (1, 3))
            pruned = on_rung and assignment.baseline is None and not goes_on(rungs[epoch], number, 2 + seed % 2)
            assert ended == pruned, (number, epoch, rungs[epoch])
            decisions.append(pruned)
        running[number][2] = epoch
        if ended:
            del running[number]
            assert one.store.state(number) == (TrialState.COMPLETE if epoch == 4 else TrialState.PRUNED)
    assert len(decisions) > 30
    assert set(decisions) == {True, False}
    assert {epoch: one.store.losses_at(epoch) for epoch in rungs} == {
        epoch: {number: [abs_rel, -a1] for number, (abs_rel, a1) in sorted(arrived.items())}
        for epoch, arrived in rungs.items()
    }


def test_events_tell_the_story(study):
    one = study()
    one.train(one.ledger.next())
    assert [event.kind for event in one.events] == ["started", "epoch", "epoch", "epoch", "epoch", "complete"]
    assert one.events[0].baseline == "published"


CHOICES = (
    "loss.fractional.weight={choices: [1, 10]}",
    "model.channels={choices: [4, 8]}",
    "data.size={choices: [[32, 48], [48, 32]]}",
    "evaluation.size=[32, 48]",
)
WRITTEN_OTHERWISE = (
    "search.baselines={published: {loss.fractional.weight: 10.0, loss.consistency.weight: 1, "
    "model.channels: 8.0, data.size: [48.0, 32]}}"
)


def test_a_baseline_has_its_parameters_however_its_numbers_are_written(study):
    made = study(*CHOICES, WRITTEN_OTHERWISE)
    made.run()
    first = made.store.trial(0)
    assert first.params == {
        "loss.fractional.weight": 10,
        "loss.consistency.weight": 1,
        "model.channels": 8,
        "data.size": "[48, 32]",
    }
    assert summarise(made.store).trials[0].params["data.size"] == [48, 32]


def test_a_study_goes_on_when_its_file_writes_the_same_numbers_otherwise(study, tiny):
    made = study(*CHOICES, WRITTEN_OTHERWISE, "search.trials=2")
    made.run()
    otherwise = [
        "loss.fractional.weight={choices: [1.0, 10.0]}",
        "model.channels={choices: [4, 8]}",
        "search.baselines={published: {loss.fractional.weight: 10, loss.consistency.weight: 1.0, "
        "model.channels: 8, data.size: [48, 32]}}",
    ]
    config = load_study(tiny, [*CHOICES, *otherwise, "search.trials=5"])
    check_unchanged(made.store, stored_config(config))
    made.config = config
    made.reopen()
    made.run()
    found = [trial.params["data.size"] for trial in made.store.trials()]
    assert len(found) == 5
    assert set(found) <= {"[32, 48]", "[48, 32]"}


def test_true_is_another_value_than_1(study):
    made = study()
    changed = stored_config(made.config)
    changed["tree"] = {**changed["tree"], "seed": 1}
    changed["baselines"] = {"published": {"loss.fractional.weight": 1}}
    other = {**changed, "baselines": {"published": {"loss.fractional.weight": True}}}
    made.store.config = changed
    with pytest.raises(StoreError, match="loss.fractional.weight: 1 -> true"):
        check_unchanged(made.store, other)


def test_a_waiting_baseline_of_an_older_database_gets_its_parameters(study):
    made = study(*CHOICES, WRITTEN_OTHERWISE)
    assert made.ledger.left() == made.config.search.trials  # the baselines are stored now
    trial_id = made.store.trial_id(0)
    made.store.storage.set_trial_system_attr(trial_id, "fixed_params", {"loss.consistency.weight": 1})
    made.reopen()
    made.run()
    assert made.store.trial(0).params["loss.fractional.weight"] == 10
    assert made.store.trial(0).params["data.size"] == "[48, 32]"


def test_another_kind_of_cpu_is_told_once(study):
    def on(cpu: str, device: str = "cpu: x") -> None:
        number = made.ledger.next().number
        here = Environment("host", device, 1, "", {}, cpu)
        made.ledger.report(number, Attempt(str(number), 0, {}, here), [record(1, 0.5)])

    made = study("search.pruner=none", "search.trials=9")
    on("A (AVX2)")
    on("A (AVX2)")
    assert [event.kind for event in made.events].count("cpu") == 0
    on("B (AVX512)")
    on("B (AVX512)")
    on("C", "cuda: H")
    told = [event.reason for event in made.events if event.kind == "cpu"]
    assert told == ["B (AVX512); trials before it on A (AVX2)"]
    assert made.store.cpus() == {"A (AVX2)", "B (AVX512)"}


def test_records_without_a_cpu_say_nothing_of_it(study):
    made = study()
    made.run()
    assert made.store.cpus() == set()
    assert "cpu" not in {event.kind for event in made.events}
