"""Measurements of an epoch, stored with it and read as tables."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tests.stores import ask, attempt, record, report, rows
from weightsearch.records import DELTA_BINS, EpochRecord, Measurements
from weightsearch.study import tables
from weightsearch.study.frames import Frames
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import summarise
from weightsearch.systems.cotraining.rebalancing_section import QUANTITIES, rebalanced

PIXELS = 10**12  # of an epoch: more than 32 bits hold
KNOWN = {
    "rebalancing": {name: 0.125 * place for place, name in enumerate(QUANTITIES)},
    "delta": {f"static/{place}": float(place) for place in range(1, DELTA_BINS)} | {"moving/0": float(PIXELS)},
}
NOTHING = {"rebalancing": dict.fromkeys(QUANTITIES[:7], math.nan) | {"moving_known": 0.0}, "delta": {}}


def balanced(epoch: int, measured: Measurements) -> EpochRecord:
    plain = record(epoch)
    return replace(plain, measurements={**plain.measurements, **measured})


def frames(store: StudyStore) -> Frames:
    return Frames.read(store, summarise(store))


def test_every_row_comes_back_as_it_was(writer, store):
    number = ask(writer)
    report(writer, number, attempt(), balanced(1, KNOWN), record(2), balanced(3, NOTHING))
    table = rebalanced(frames(store), number)
    assert list(table["epoch"]) == [1, 3]
    first, last = (table.iloc[place] for place in (0, 1))
    assert {name: first[name] for name in QUANTITIES} == KNOWN["rebalancing"]
    assert list(first["static"]) == list(range(DELTA_BINS))
    assert list(first["moving"]) == [PIXELS, *[0] * (DELTA_BINS - 1)]
    assert np.isnan([last[name] for name in QUANTITIES if name != "moving_known"]).all()
    assert last["moving_known"] == 0
    assert sum(last["static"]) == 0
    stored = {row["name"]: row["value"] for row in rows(store, tables.measurements) if row["epoch"] == 3}
    assert [stored[name] for name in QUANTITIES[:7]] == [None] * 7  # PostgreSQL and SQLite know no NaN alike


def test_rows_of_a_group_have_a_column_for_each_key(writer, store):
    number = ask(writer)
    measured = {"cosine": {"shared/a/b": 0.5, "heads/a/b": math.nan}}
    report(writer, number, attempt(), record(1), replace(record(2), sampled=measured))
    table = frames(store).rows("cosine", "place", "term", "other")
    assert table.columns.tolist() == ["number", "epoch", "place", "term", "other", "value"]
    assert table[["number", "epoch"]].to_numpy().tolist() == [[number, 2]] * 2
    assert table[["place", "term", "other"]].to_numpy().tolist() == [["heads", "a", "b"], ["shared", "a", "b"]]
    assert math.isnan(table["value"][0])
    assert table["value"][1] == 0.5
    assert frames(store).rows("cosine", "place", "term", "other", number=number + 1).empty


def test_a_group_without_rows_has_its_columns_and_numbers_are_numbers(writer, store):
    report(writer, ask(writer), attempt(), record(1))
    table = frames(store).rows("rebalancing", "quantity")
    assert table.empty
    assert table.columns.tolist() == ["number", "epoch", "quantity", "value"]
    assert table["value"].dtype == np.dtype(float)
    assert {str(dtype) for dtype in rebalanced(frames(store), 0)[[*QUANTITIES]].dtypes} <= {"float64", "object"}


def test_a_value_of_all_steps_takes_the_place_of_a_sampled_one(writer, store):
    number = ask(writer)
    plain = record(1)
    steps = {**plain.measurements, "gradient": {"heads/a": 1.0}}
    sampled = {"gradient": {"heads/a": 2.0, "shared/a": 3.0}}
    report(writer, number, attempt(), replace(plain, measurements=steps, sampled=sampled))
    assert store.norms(number) == {"heads": (1, {"a": 1.0}), "shared": (1, {"a": 3.0})}


def test_loss_terms_are_a_table_of_one_trial(writer, store):
    number = ask(writer)
    report(writer, number, attempt(), record(1), record(2))
    table = frames(store).terms(number)
    assert table.columns.tolist() == ["epoch", "term", "value", "weight", "contribution", "gradient"]
    assert table.iloc[2].tolist() == [2, "a", 0.25, 4.0, 0.5, 0.1]


def test_steps_without_pixels_are_stored_with_their_epoch_and_warned_of(writer, store):
    number = ask(writer)
    report(writer, number, attempt(), record(1), balanced(2, {"without_pixels": {"a": 4.0, "b": 1.0}}))
    table = frames(store).rows("without_pixels", "term", number=number)
    assert table.to_dict("list") == {"epoch": [2, 2], "term": ["a", "b"], "value": [4.0, 1.0]}
    assert set(store.metrics(number)) == set(record(2).metrics)  # they are no metrics of a split
    steps = record(2).steps
    assert [warning.split(", which")[0] for warning in store.pixel_warnings(number)] == [
        f"the loss term {name!r} had no pixel to learn from at {count} of {steps} steps"
        for name, count in (("a", 4), ("b", 1))
        if count > 0.05 * steps
    ]
    assert store.pixel_warnings(number)


def test_rows_go_with_their_epoch_and_are_stored_once(writer, store):
    number = ask(writer)
    report(writer, number, attempt("one"), balanced(1, KNOWN), balanced(2, KNOWN), balanced(3, KNOWN))
    report(writer, number, attempt("one"), balanced(2, NOTHING))  # told again: the first one stands
    kept = KNOWN["rebalancing"]["kept"]
    assert list(rebalanced(frames(store), number)["kept"]) == [kept] * 3
    writer.record(number, attempt("two", resumed_from=1), balanced(2, NOTHING))
    table = rebalanced(frames(store), number)
    assert list(table["epoch"]) == [1, 2]
    assert np.isnan(table["kept"].iloc[1])
