"""The record of an epoch, for the ledger."""

from __future__ import annotations

from weightsearch.records import EpochRecord, TermRecord, measured_terms


def record(epoch: int, value: float, other: float | None = None) -> EpochRecord:
    metrics = {"abs_rel": value} | ({} if other is None else {"a1": other})
    return EpochRecord(epoch, 0.1, 5, 1.0, 1e-3, metrics, measured_terms({"a": TermRecord(1, 1, 1, 1)}))
