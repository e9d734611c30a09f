from __future__ import annotations

from optuna.samplers import RandomSampler

from tests.helpers.ledger_records import record
from tests.helpers.statuses import status
from tests.stores import driving
from tests.synthetic import SPACE, config, train
from weightsearch.config.schema import EarlyStopping, Train
from weightsearch.console import View
from weightsearch.search.ledger import Event
from weightsearch.search.status import Status
from weightsearch.study.progress import read_counts
from weightsearch.study.summary import summarise


def test_counts_and_best():
    one = status(lambda: 0.0)
    assert one.best() is None
    for number, (value, end, baseline) in enumerate(
        [(0.4, "complete", "published"), (0.2, "pruned", None), (0.3, "complete", None), (0.1, "epoch", None)]
    ):
        one.take(Event("started", number, baseline))
        one.take(Event("epoch", number, baseline, record(1, value)))
        if end != "epoch":
            one.take(Event(end, number, baseline))
    assert one.states == {"COMPLETE": 2, "PRUNED": 1, "FAIL": 0}
    assert one.running == {3: 1}
    assert one.best() == (2, 0.3)  # neither the pruned one nor the one that runs
    assert one.baseline_values() == {"published": 0.4}
    assert one.ended == 3


def test_time_left_is_epochs_left_at_the_pace_so_far():
    now = [100.0]
    one = status(lambda: now[0])
    assert one.seconds_left() is None
    one.take(Event("started", 0, "published"))
    now[0] += 60  # its worker takes a minute to start
    for epoch in (1, 2, 3):
        assert one.seconds_left() is None
        one.take(Event("epoch", 0, "published", record(epoch, 0.4)))
        now[0] += 10 if epoch < 3 else 0
    assert one.seconds_left() == 10 * (9 * 4 + 1)  # nothing is known of pruning yet
    one.take(Event("complete", 0, "published"))
    for number in (1, 2, 3):
        one.take(Event("started", number))
        now[0] += 10
        one.take(Event("epoch", number, record=record(1, 0.4)))
        one.take(Event("pruned", number))
    assert one.seconds_left() == 10 * 6  # six trials to come, as long as the three that were searched


def test_trials_to_come_are_shared_with_other_drivers_in_the_time_left():
    now = [0.0]
    one = status(lambda: now[0])
    for number in (0, 1):
        one.take(Event("started", number))
    for epoch in (1, 2):
        for number in (0, 1):
            one.take(Event("epoch", number, None, record(epoch, 0.4)))
            now[0] += 5
    assert one.seconds_left() == 20 / 3 * (8 * 4 + 2 + 2)
    one.elsewhere = 2  # of the 6 trials to come, 3 are this driver's
    assert one.seconds_left() == 20 / 3 * (3 * 4 + 2 + 2)


def test_under_early_stopping_a_trial_is_worth_its_best_epoch():
    one = status(lambda: 0.0)
    one.train = Train(epochs=4, lr=1, early_stopping=EarlyStopping(patience=2, metric="abs_rel"))
    one.take(Event("started", 0))
    for epoch, value in enumerate([0.5, 0.3, 0.4, 0.35], start=1):
        one.take(Event("epoch", 0, record=record(epoch, value)))
    assert one.values == {0: 0.3}
    one.take(Event("epoch", 0, record=record(2, 0.45)))  # trained again from an older checkpoint
    assert one.values == {0: 0.45}
    one.take(Event("epoch", 0, record=record(3, 0.2)))
    one.take(Event("complete", 0))
    assert one.best() == (0, 0.2)


def test_what_was_given_back_does_not_run():
    one = status(lambda: 0.0)
    for number in (0, 1, 2):
        one.take(Event("started", number))
    one.take(Event("given back", 1))
    assert list(one.running) == [0, 2]
    one.take(Event("cluster", reason="Ray's process raylet died"))
    assert one.running == {}


def test_higher_may_be_better():
    one = status(lambda: 0.0)
    one.minimize = False
    for number, value in enumerate([0.4, 0.6]):
        one.take(Event("started", number))
        one.take(Event("epoch", number, record=record(1, value)))
        one.take(Event("complete", number))
    assert one.best() == (1, 0.6)


def test_trials_of_other_drivers_count(tmp_path, capsys):
    """A driver that joined said [0/6] and `no full trial yet` while another one had finished four."""
    url, kept, space = f"sqlite:///{tmp_path}/s.db", config({"abs_rel": "minimize"}, {}), RandomSampler(seed=0)
    weights = {"integer": 1.0, "fractional": 10.0, "consistency": 0.5}
    with driving(url, "synthetic", kept) as mine, driving(url, "synthetic", kept, join=True) as other:
        view = View(quiet=False)
        one = Status.of(summarise(mine.store), 6, Train(epochs=8, lr=1e-3))
        view.begin(one, "synthetic", lambda known: read_counts(mine.store, known))
        number = mine.ask(space, SPACE).number
        for _ in range(2):
            full = other.ask(space, SPACE).number
            train(other, full, weights)
            other.complete(full)
        other.ask(space, SPACE)
        view(Event("started", number))
        view.due = 0.0
        view(Event("epoch", number, None, record(1, 0.9)))
        best = summarise(other.store).best
        assert one.best() == (best.number, best.values["abs_rel"])
        assert (one.ended, one.elsewhere) == (2, 1)
        now = one.progress("synthetic")
        assert (now.ended, now.states["COMPLETE"], now.states["RUNNING"]) == (2, 2, 2)
        view.due = 0.0
        train(mine, number, weights)
        mine.complete(number)
        view(Event("epoch", number, None, record(8, 0.9)))  # told after it was stored
        view(Event("complete", number))
        assert one.ended == 3
    said = " ".join(capsys.readouterr().out.split())
    assert (
        f"[2/6] trial {number} epoch 1/8 abs_rel 0.9000; best {best.values['abs_rel']:.4f} (trial {best.number})"
        in said
    )
