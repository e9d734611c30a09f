"""Records of rebalancing, stored with their epoch and read as a table."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.stores import ask, attempt, record, report, rows
from weightsearch.records import REBALANCE_BINS, EpochRecord, RebalanceRecord
from weightsearch.study import tables
from weightsearch.study.frames import Frames, read_frames
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import summarise

KNOWN = RebalanceRecord(
    mode=0.01,
    kept=0.75,
    flow_kept=1.0,
    mean=0.02,
    deviation=0.07,
    below=0.2,
    near=0.125,
    static=tuple(range(REBALANCE_BINS)),
    moving=(10**12, *range(REBALANCE_BINS - 1)),  # pixels of an epoch: more than 32 bits hold
    known=True,
    precision=0.5,
    recall=0.25,
)
NOTHING = replace(
    KNOWN,
    **dict.fromkeys(("mode", "kept", "flow_kept", "mean", "deviation", "below", "near"), math.nan),
    static=(0,) * REBALANCE_BINS,
    moving=(0,) * REBALANCE_BINS,
    known=False,
    precision=None,
    recall=None,
)
NUMBERS = ["mode", "kept", "flow_kept", "mean", "deviation", "below", "near", "precision", "recall"]


def balanced(epoch: int, found: RebalanceRecord) -> EpochRecord:
    return replace(record(epoch), rebalance=found)


def frames(store: StudyStore) -> Frames:
    return read_frames(store, summarise(store))


def test_every_field_comes_back_as_it_was(writer, store):
    number = ask(writer)
    report(writer, number, attempt(), balanced(1, KNOWN), record(2), balanced(3, NOTHING))
    table = frames(store).of("rebalancing", number)
    assert list(table["epoch"]) == [1, 3]
    first, last = (table.iloc[place] for place in (0, 1))
    plain = {name: first[name] for name in NUMBERS} | {name: tuple(first[name]) for name in ("static", "moving")}
    assert RebalanceRecord(**plain, known=bool(first["known"])) == KNOWN
    assert np.isnan([last[name] for name in NUMBERS]).all()
    assert not last["known"]
    assert sum(last["static"]) == 0
    stored = {row["epoch"]: row for row in rows(store, tables.rebalancing)}[3]
    assert [stored[name] for name in NUMBERS] == [None] * 9  # PostgreSQL and SQLite know no NaN alike


@pytest.mark.parametrize("found", [KNOWN, NOTHING])
def test_numbers_are_numbers_whatever_is_known(writer, store, found):
    report(writer, ask(writer), attempt(), balanced(1, found))
    table = frames(store).rebalancing
    assert {table[name].dtype for name in NUMBERS} == {np.dtype(float)}
    assert table["known"].dtype == np.dtype(bool)


def test_without_rebalancing_the_table_is_empty_and_has_its_columns(writer, store):
    report(writer, ask(writer), attempt(), record(1))
    table = frames(store).rebalancing
    assert table.empty
    assert set(table.columns) == {"number", "epoch", "known", "static", "moving", *NUMBERS}


def test_steps_without_pixels_are_stored_with_their_epoch_and_warned_of(writer, store):
    number = ask(writer)
    report(writer, number, attempt(), record(1), replace(record(2), without_pixels={"a": 4, "b": 1}))
    table = frames(store).of("without_pixels", number)
    assert table.to_dict("list") == {"epoch": [2, 2], "term": ["a", "b"], "steps": [4.0, 1.0]}
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
    assert list(frames(store).rebalancing["kept"]) == [0.75] * 3
    writer.record(number, attempt("two", resumed_from=1), balanced(2, NOTHING))
    table = frames(store).rebalancing
    assert list(table["epoch"]) == [1, 2]
    assert np.isnan(table["kept"].iloc[1])
