from __future__ import annotations

import hashlib
import statistics
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import TINY
from tests.helpers.ledger_records import record
from tests.stores import HERE, NOBODY
from weightsearch.compare.studies import (
    Compared,
    Entry,
    Listener,
    _folder,
    candidates,
    common_objective,
    side_by_side,
    train_candidate,
    trained_anew,
    trivial_entries,
    verdict_of,
    weights_of,
    with_trivial,
)
from weightsearch.config import load_study
from weightsearch.data.dataset import open_dataset
from weightsearch.errors import SearchError, WeightsearchError
from weightsearch.search.ledger import Ledger, stored_config
from weightsearch.study.frames import Frames
from weightsearch.study.lease import Lease
from weightsearch.study.store import StudyStore
from weightsearch.study.writer import Attempt, Writer


@contextmanager
def made(folder: Path, name: str, *sets: str, text: str = TINY):
    """A study whose trials are worth what their consistency weight says, without training."""
    path = folder / f"{name}.yaml"
    path.write_text(text)
    config = load_study(path, [f"name={name}", f"storage=sqlite:///{name}.db", "search.pruner=none", *sets])
    store = StudyStore.create(config.storage, config.name, ["minimize"], stored_config(config))
    ledger = Ledger(config, Writer(store, Lease.take(store, process=NOBODY)))
    while (one := ledger.next()) is not None:
        value = 0.1 + abs(one.configuration.loss["consistency"].weight - 1)
        for epoch in range(1, one.configuration.train.epochs + 1):
            made_up = replace(record(epoch, value), metrics={"abs_rel": value, "rmse": value})
            ledger.report(one.number, Attempt(str(one.number), 0, {}, HERE), [made_up])
        ledger.writer.record_test(one.number, {"abs_rel": 2 * value})
    try:
        yield Compared.of(store)
    finally:
        store.close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_best_and_the_baselines_stand_side_by_side(folder):
    with made(folder, "one") as one, made(folder, "two", "seed=5") as two:
        assert common_objective([one, two]) == "abs_rel"
        entries = side_by_side([one, two], "abs_rel")
        assert [(entry.study, entry.label) for entry in entries] == [
            (study, label) for study in ("one", "two") for label in ("best", "published", "depth_only")
        ]
        published = entries[1]
        assert published.weights == {"integer": 1.0, "fractional": 10.0, "consistency": 0.5}
        assert published.mean("validation") == pytest.approx(0.6)
        assert published.mean("test") == pytest.approx(1.2)
        assert published.spread("test") is None
        assert entries[2].mean("validation") == pytest.approx(0.1)
        assert entries[0].mean("validation") == min(entry.mean("validation") for entry in entries[:3])


def test_a_study_without_a_full_trial_says_so(folder):
    with made(folder, "one") as one:
        empty = Compared(
            one.config, one.store, replace(one.summary, best=None, front=(), baselines={}, trials=()), "none"
        )
        (entry,) = side_by_side([empty], "abs_rel")
        assert entry.problem == "no trial is COMPLETE"
        assert entry.mean("validation") is None
        with pytest.raises(SearchError, match="'none' has no COMPLETE trial"):
            candidates(empty, [])


def test_objectives_and_terms_must_be_the_same(folder):
    mae = TINY.replace("  integer:", "  mae:").replace("loss.integer", "loss.mae")
    wrong = r"'one' and 'two' have other loss terms: integer, .* and mae"
    with made(folder, "one") as one, made(folder, "two", text=mae) as two, pytest.raises(SearchError, match=wrong):
        candidates(one, [two])
    rmse = "search.objectives={rmse: minimize}"
    wrong = "'four' has minimize abs_rel, not minimize rmse"
    with made(folder, "three", rmse) as three, made(folder, "four") as four, pytest.raises(SearchError, match=wrong):
        common_objective([three, four])


def test_weights_are_carried_over_and_nothing_else_is(folder):
    with made(folder, "one") as one, made(folder, "two", "seed=5", "train.epochs=3") as two:
        found = candidates(one, [two])
        assert list(found) == ["best", "published", "depth_only", "best of two"]
        carried = one.config.configuration(found["best of two"])
        assert weights_of(one.config, found["best of two"]) == weights_of(two.config, two.summary.best.params)
        assert list(candidates(one, [two], ["depth_only"])) == ["best", "depth_only", "best of two"]
        with pytest.raises(WeightsearchError, match="'one' has no baseline 'equal'; known: published, depth_only"):
            candidates(one, [two], ["equal"])
        assert carried.train.epochs == 4
        assert carried.seed == one.config.base.seed


def test_what_else_of_the_loss_was_searched_is_carried_too(folder):
    text = TINY.replace("integer: {weight:", "integer: {max_depth: {low: 3.0, high: 9.0}, weight:").replace(
        "loss.fractional.weight:", "loss.integer.max_depth: 6.0, loss.fractional.weight:"
    )
    with made(folder, "one", text=text) as one, made(folder, "two", "seed=5", text=text) as two:
        best = replace(two.summary.best, params={**two.summary.best.params, "loss.integer.max_depth": 4.5})
        other = Compared(two.config, two.store, replace(two.summary, best=best), "two")
        carried = one.config.configuration(candidates(one, [other])["best of two"])
        assert carried.loss["integer"].options["max_depth"] == 4.5


def test_what_was_searched_here_and_is_fixed_there_is_carried_too(folder):
    """As the other study has it: in its file, or as the term's default; but nothing that follows from its data."""
    terms = "  integer: {weight: 1.0}\n"
    silog = f"{terms}  silog: {{variance_focus: 0.5, weight: 1.0}}\n"
    searched = silog.replace("0.5", "{low: 0.0, high: 1.0}")
    baselines = "loss.silog.variance_focus: 0.25, loss.fractional.weight:"
    here = TINY.replace(terms, searched).replace("loss.fractional.weight:", baselines)
    default = TINY.replace(terms, silog.replace("variance_focus: 0.5, ", ""))
    with (
        made(folder, "one", text=here) as one,
        made(folder, "two", "seed=5", text=TINY.replace(terms, silog)) as two,
        made(folder, "three", "seed=5", text=default) as three,
    ):
        found = candidates(one, [two, three])
        assert found["best"]["loss.silog.variance_focus"] not in (0.5, 0.85)
        assert found["best of two"]["loss.silog.variance_focus"] == 0.5
        assert found["best of three"]["loss.silog.variance_focus"] == 0.85
        assert "loss.integer.max_depth" not in found["best of two"]


def test_a_candidate_is_trained_once_for_each_seed_and_not_again(folder):
    with made(folder, "one", "train.epochs=1") as one:
        told: list[str] = []
        values = candidates(one, [])["published"]
        entry = train_candidate(one, "published", values, "abs_rel", [4, 5], "cpu", Listener(told.append))
        assert told == ["one, published, seed 4", "one, published, seed 5"]
        assert len(entry.values["test"]) == len(set(entry.values["test"])) == 2
        assert entry.mean("test") == pytest.approx(sum(entry.values["test"]) / 2)
        assert entry.spread("test") == pytest.approx(statistics.stdev(entry.values["test"]))
        checkpoints = {path: path.stat().st_mtime_ns for path in folder.rglob("compared/*/checkpoint.pt")}
        assert len(checkpoints) == 2
        again = train_candidate(one, "published", values, "abs_rel", [4, 5, 6], "cpu", Listener(told.append))
        assert again.values["test"][:2] == entry.values["test"]
        assert all(path.stat().st_mtime_ns == before for path, before in checkpoints.items())
        assert entry.to_plain()["mean"]["test"] == entry.mean("test")


def test_other_data_under_the_same_name_are_trained_on_anew(folder):
    with made(folder, "one", "train.epochs=1") as one:
        dataset = open_dataset(one.config.base)
        content = dataset.content
        assert content["train frames"] == len(dataset.splits["train"])
        assert 0.3 < content["validation depth"] < 6
        assert content["test known"] == 1
        depth = content["validation depth"]
        same = _folder(folder, one.config.base, content)
        assert same != _folder(folder, one.config.base, {**content, "validation depth": 1.001 * depth})
        assert same == _folder(folder, one.config.base, {**content, "validation depth": depth + 1e-9})


def test_settings_that_change_no_number_do_not_begin_a_training_anew(tiny, folder):
    def found(*sets: str) -> Path:
        return _folder(folder, load_study(tiny, sets).base, {"train frames": 3.0})

    first = found()
    assert first == found("analysis.budget=0", "analysis.pictures=0", "resources.max_concurrent=1", "name=other")
    assert first != found("train.lr=0.5")
    assert first != found("resources.cpus_per_trial=2")
    assert first != found("seed=9")


def test_a_training_of_an_older_version_is_recognised(tiny, folder):
    """The folder of an older version is named by the whole configuration."""
    base = load_study(tiny).base
    name = hashlib.sha256(f"{base.model_dump_json()}train frames 3".encode()).hexdigest()[:16]
    (folder / name).mkdir()
    assert _folder(folder, base, {"train frames": 3.0}) == folder / name


def test_a_study_is_what_its_database_has_whatever_became_of_its_file(folder):
    with made(
        folder,
        "one",
        "train.lr=2.0e-3",
        "search.baselines.other={loss.fractional.weight: 3, loss.consistency.weight: 2}",
    ) as one:
        (folder / "one.yaml").unlink()
        assert one.config.base.train.lr == 2e-3
        assert set(one.config.space) == {"loss.fractional.weight", "loss.consistency.weight"}
        assert list(candidates(one, [])) == ["best", "published", "depth_only", "other"]


def test_nothing_is_trained_before_all_can_be_compared(folder):
    told: list[str] = []
    with made(folder, "one", "train.epochs=1") as one:
        empty = replace(one, summary=replace(one.summary, best=None), name="empty")
        with pytest.raises(SearchError, match="the study 'empty' has no COMPLETE trial"):
            trained_anew([one, empty], "abs_rel", 1, "cpu", Listener(told.append))
        assert told == []
        kept = replace(one, keep=True)
        entries = trained_anew([kept], "abs_rel", 2, "cpu", Listener(told.append), ["published"])
        stored = Frames.read(one.store, one.summary).confirmations
        test = stored[(stored["split"] == "test") & (stored["metric"] == "abs_rel")].set_index("number")["value"]
        assert list(test[one.summary.best.number]) == entries[0].values["test"]
        assert list(test[one.summary.baselines["published"].number]) == entries[1].values["test"]
        assert [entry.label for entry in entries] == ["best", "published"]
        assert told[0] == "4 trainings: 2 sets of weights, 2 new seeds each"
        assert told[1].startswith("warning: with 2 new seeds a difference must be at least 9.0 standard deviations")
        assert "with 3 seeds a difference must be at least 2.5 standard deviations" in told[1]
        assert told[2].startswith("[1/4] one, best, seed ")
        assert told[5].startswith("[4/4] one, published, seed ")


def test_a_training_that_fails_is_told_and_the_others_go_on(folder):
    with made(folder, "one", "train.epochs=1") as one:
        values = {**candidates(one, [])["published"], "train.lr": 1e30}
        entry = train_candidate(one, "published", values, "abs_rel", [1], "cpu", Listener())
        assert entry.problem is not None
        assert entry.problem.startswith("seed 1: ")
        assert entry.values == {}


def test_trivial_baselines_that_a_study_lacks_are_measured_and_kept(folder):
    """A study of an older version has no trivial baselines on the test split."""
    with made(folder, "one", "train.epochs=1") as one:
        assert trivial_entries(one, "abs_rel") == []
        measured = with_trivial(replace(one, keep=True))
        assert [entry.label for entry in trivial_entries(measured, "abs_rel")] == ["constant_depth", "mean_depth"]
        assert all(set(entry.values) == {"validation", "test"} for entry in trivial_entries(measured, "abs_rel"))
        again = Compared.of(one.store)
        assert (again.summary.naive, again.summary.naive_test) == (measured.summary.naive, measured.summary.naive_test)
        assert with_trivial(again) is again
        best = Entry("one", "best", {}, {"validation": [5.0, 5.1]}, seeds=[4, 5])
        first, *_ = verdict_of(measured, [best], "abs_rel").sentences("trial 0")
        assert "is no better than" in first.text
        assert "mean of 2 new seeds" in first.text
