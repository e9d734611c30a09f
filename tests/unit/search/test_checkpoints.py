from __future__ import annotations

from dataclasses import replace

from optuna.samplers import RandomSampler

from tests.stores import SPACE, STORED, attempt, driving, record
from weightsearch.search.checkpoints import Checkpoints
from weightsearch.search.ledger import Event
from weightsearch.study.writer import Writer


def play(writer: Writer, checkpoints: Checkpoints, outcomes: list[tuple[float, str, str | None]]) -> set[int]:
    """Train trials one after another to (value, end, baseline) and return the numbers whose checkpoints are left."""
    for value, end, baseline in outcomes:
        if baseline:
            writer.enqueue_baseline(baseline, {})
        number = writer.ask(RandomSampler(seed=0), SPACE).number
        checkpoints.checkpoint(number).parent.mkdir(parents=True)
        checkpoints.checkpoint(number).write_text("")
        one = record(1)
        metrics = {"abs_rel": value, "a1": value}
        writer.record(number, attempt(str(number)), replace(one, metrics=metrics))
        {"complete": writer.complete, "pruned": writer.prune}[end](number)
        checkpoints(Event(end, number, baseline))
    return {int(folder.name) for folder in checkpoints.folder.iterdir()}


def test_the_best_and_the_baselines_keep_their_checkpoints(tmp_path):
    with driving(f"sqlite:///{tmp_path}/s.db") as writer:
        checkpoints = Checkpoints(writer.store, tmp_path / "trials")
        outcomes = [(0.5, "complete", "published"), (0.4, "complete", None), (0.1, "pruned", None)]
        assert play(writer, checkpoints, outcomes) == {0, 1}
        assert play(writer, checkpoints, [(0.3, "complete", None), (0.6, "complete", None)]) == {0, 3}


def test_with_several_objectives_every_full_trial_does(tmp_path):
    config = {**STORED, "objectives": {"abs_rel": "minimize", "a1": "maximize"}}
    with driving(f"sqlite:///{tmp_path}/s.db", config=config) as writer:
        checkpoints = Checkpoints(writer.store, tmp_path / "trials")
        assert play(
            writer, checkpoints, [(0.5, "complete", None), (0.4, "complete", None), (0.3, "complete", None)]
        ) == {
            0,
            1,
            2,
        }
