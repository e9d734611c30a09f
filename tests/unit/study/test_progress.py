"""The progress of a study, from the database and from a driver's events, and on the screen."""

from __future__ import annotations

import io
import re
import socket
from dataclasses import replace

import pytest
from optuna.samplers import RandomSampler
from rich.console import Console

from tests.stores import attempt, driving
from tests.synthetic import DEPTH_GAIN, SHARED_GAIN, SPACE, config, fill, record, train
from weightsearch.config.schema import Train
from weightsearch.console import progress_group
from weightsearch.records import TermRecord
from weightsearch.search.ledger import Event
from weightsearch.search.status import Status
from weightsearch.study.progress import Progress, RunningTrial, read_progress, running_trial
from weightsearch.study.store import StudyStore


def shown(now: Progress) -> str:
    console = Console(width=140, file=io.StringIO())
    console.print(progress_group(now))
    return console.file.getvalue()


def test_contributions_and_ratios_of_a_running_trial():
    terms = {
        "a": TermRecord(1.0, 1.0, 0.25, 1.0),
        "b": TermRecord(1.0, 3.0, 0.75, 3.0),
        "off": TermRecord(9.0, 0, 0, 0),
    }
    found = running_trial(7, 2, terms, 0.5, None)
    assert found.contributions == {"a": 0.25, "b": 0.75, "off": 0.0}
    assert found.pull is None  # norms at the outputs mix units


def test_a_study_that_another_process_runs_is_seen_as_it_is(storage):
    weights = {"integer": 1.0, "fractional": 10.0, "consistency": 0.5}
    with driving(storage, "synthetic", config({"abs_rel": "minimize"})) as writer:
        reader = StudyStore.open(storage, "synthetic")
        assert read_progress(reader).running == ()
        number = writer.ask(RandomSampler(seed=0), SPACE).number
        (waits,) = read_progress(reader).running
        assert waits.epoch == 0
        assert waits.host == f"{socket.gethostname()} (its driver's host)"
        train(writer, number, weights, epochs=3)
        now = read_progress(reader)
        (trial,) = now.running
        assert (trial.epoch, now.epochs, now.best) == (3, 8, None)
        assert trial.value == pytest.approx(record(weights, 3, number).metrics["abs_rel"])
        assert list(trial.contributions) == ["integer", "fractional", "consistency"]
        assert (trial.pull.place, trial.pull.epoch) == ("shared", 3)
        assert trial.pull.ratios["fractional"] == pytest.approx(10 / (15.6 / 3))
        assert len(now.drivers) == 1
        train(writer, number, weights)
        writer.complete(number)
        ended = read_progress(reader)
        assert ended.running == ()
        assert ended.best == (number, pytest.approx(record(weights, 8, number).metrics["abs_rel"]))
        reader.close()
    text = shown(now)
    assert "    on host\n" in text  # where the last epoch was trained
    assert "trial 0: ███▊░░░░░░ epoch 3/8  abs_rel 0.2" in text
    assert "share of the loss; gradient ratio at the shared parameters, epoch 3" in text
    assert "fractional   ███████▋░░  76 %  ██████▍░░░ 1.9" in text
    assert "consistency  █▉░░░░░░░░  18 %  ███░░░░░░░ 0.88" in text


def test_gradients_are_those_at_the_heads_until_a_probe_has_seen_the_shared_parameters():
    weights = {"integer": 1.0, "fractional": 10.0, "consistency": 0.5}
    status = Status(
        "abs_rel", True, 1, Train(epochs=8, lr=1), {"COMPLETE": 0, "PRUNED": 0, "FAIL": 0}, clock=lambda: 0.0
    )
    status.take(Event("started", 0))
    assert "gradient ratio" not in shown(status.progress("s"))
    for epoch, place, at in ((1, "heads", 1), (2, "heads", 2), (3, "shared", 3), (4, "shared", 3), (6, "shared", 6)):
        status.take(Event("epoch", 0, record=record(weights, epoch, 0)))
        (trial,) = status.progress("s").running
        assert (trial.pull.place, trial.pull.epoch) == (place, at)
        gain = {"heads": DEPTH_GAIN, "shared": SHARED_GAIN}[place]
        assert trial.pull.ratios["consistency"] == pytest.approx(0.5 * gain / ((11 + 0.5 * gain) / 3))
        assert {"heads": "at the heads", "shared": "at the shared parameters"}[place] in shown(status.progress("s"))


def test_without_a_place_where_gradients_can_be_compared_none_are_shown(storage):
    """Video: the heads are metres, radians and pixels, and no probe has seen the shared parameters yet."""
    weights = {"integer": 1.0, "fractional": 10.0, "consistency": 0.5}
    kept = config({"abs_rel": "minimize"}, {})
    kept["tree"] |= {"model": {"name": "co_training"}, "data": {**kept["tree"]["data"], "neighbours": [-1, 1]}}
    with driving(storage, "synthetic", kept) as writer:
        number = writer.ask(RandomSampler(seed=0), SPACE).number
        for epoch in (1, 2, 3):
            if epoch == 3:
                text = shown(read_progress(writer.store))
                assert "share of the loss; gradient ratio not measured yet" in text
                assert "gradient ratio at" not in text
            one = record(weights, epoch, number)
            plain = {group: rows for group, rows in one.measurements.items() if group != "gradient"}
            gradients = {
                name: norm for name, norm in one.sampled.get("gradient", {}).items() if name.startswith("shared/")
            }
            writer.record(number, attempt(), replace(one, measurements=plain, sampled={"gradient": gradients}))
        assert "gradient ratio at the shared parameters, epoch 3" in shown(read_progress(writer.store))


def test_the_screen_has_the_best_against_the_baselines_and_many_trials_in_short(tmp_path):
    with driving(f"sqlite:///{tmp_path}/s.db", "synthetic", config({"abs_rel": "minimize"})) as writer:
        fill(writer, 9, states=["COMPLETE", "RUNNING", "RUNNING"])
        now = read_progress(writer.store)
    text = shown(now)
    assert "5 trials: 5 done, 0 pruned, 0 failed; 6 running" in text
    assert f"best abs_rel {now.best[1]:.4f} (trial {now.best[0]})" in text
    assert "against published 0.19" in text
    assert len(re.findall(r"\d %  [█▏▎▍▌▋▊▉░ ]{10} [\d.]+", text)) == 4 * 3
    now = replace(now, elapsed=359_999.0, left=359_999.0, running=[_long(one) for one in now.running])
    assert max(map(len, shown(now).splitlines())) <= 80  # a live view cuts off what is wider
    assert "also running: 9 (2/8 on host), 10 (2/8 on host)" in text


def _long(trial: RunningTrial) -> RunningTrial:
    """A trial whose terms have the longest names there are."""
    assert trial.pull is not None
    names = {"flow_depth_consistency": 1.0, "edge_aware_smoothness": 0.5}
    return replace(trial, contributions=names, pull=replace(trial.pull, epoch=100, ratios=names))
