from __future__ import annotations

from optuna.samplers import RandomSampler

from tests.unit.study.test_store import SPACE, SPEC, attempt, record
from weightsearch.search.keeper import Keeper
from weightsearch.search.ledger import Event
from weightsearch.study.store import StudyStore


def play(store: StudyStore, keeper: Keeper, outcomes: list[tuple[float, str, str | None]]) -> set[int]:
    """Train trials one after another to (value, end, baseline) and return the numbers whose checkpoints are left."""
    for value, end, baseline in outcomes:
        if baseline:
            store.enqueue_baseline(baseline, {})
        number = store.ask(RandomSampler(seed=0), SPACE).number
        keeper.checkpoint(number).parent.mkdir(parents=True)
        keeper.checkpoint(number).write_text("")
        one = record(1)
        metrics = {"abs_rel": value, "a1": value}
        store.record(number, attempt(str(number)), [type(one)(**{**one.__dict__, "metrics": metrics})])
        {"complete": store.complete, "pruned": store.prune}[end](number)
        keeper(Event(end, number, baseline))
    return {int(folder.name) for folder in keeper.folder.iterdir()}


def test_the_best_and_the_baselines_keep_their_checkpoints(tmp_path):
    store = StudyStore.create(f"sqlite:///{tmp_path}/s.db", "s", ["minimize"], SPEC)
    keeper = Keeper(store, tmp_path / "trials")
    outcomes = [(0.5, "complete", "published"), (0.4, "complete", None), (0.1, "pruned", None)]
    assert play(store, keeper, outcomes) == {0, 1}
    assert play(store, keeper, [(0.3, "complete", None), (0.6, "complete", None)]) == {0, 3}
    store.close()


def test_with_several_objectives_every_full_trial_does(tmp_path):
    spec = {**SPEC, "objectives": {"abs_rel": "minimize", "a1": "maximize"}}
    store = StudyStore.create(f"sqlite:///{tmp_path}/s.db", "s", ["minimize", "maximize"], spec)
    keeper = Keeper(store, tmp_path / "trials")
    assert play(store, keeper, [(0.5, "complete", None), (0.4, "complete", None), (0.3, "complete", None)]) == {0, 1, 2}
    store.close()
