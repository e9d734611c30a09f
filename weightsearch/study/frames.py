"""Tables of a study, for the analysis. One query per table, whatever the number of trials."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import pandas as pd
import sqlalchemy as sa

from weightsearch.records import TERM_GROUPS, TermRecord
from weightsearch.study import tables
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import StudySummary


@dataclass(frozen=True)
class Frames:
    """Tables of a study; the column `number` is the trial's number.

    trials: number, state, baseline, reason, epochs, start, end, each parameter by its path, each objective on the
    validation split, and on the test split with the prefix `test.`. epochs: number, epoch, seconds, steps, empty_steps,
    train_loss, lr, problem. measurements: number, epoch, group, name, value (NaN if not finite); see `rows`.
    confirmations: number, seed, split, metric, value. objectives: name -> direction.
    """

    trials: pd.DataFrame
    epochs: pd.DataFrame
    measurements: pd.DataFrame
    confirmations: pd.DataFrame
    objectives: dict[str, str]

    @classmethod
    def read(cls, store: StudyStore, summary: StudySummary) -> Frames:
        """Read the tables of a study. summary: of the same moment."""
        epochs = _read(store, tables.epochs)
        measurements = _read(store, tables.measurements).merge(epochs[["number", "epoch"]])  # the study may be running
        measurements = measurements.sort_values(["number", "epoch"], kind="stable", ignore_index=True).astype(
            {"value": float}
        )
        columns = ["number", "epoch", "group", "name", "value"]
        confirmations, objectives = _read(store, tables.confirmations), dict(summary.directions)
        return cls(_trials(store, summary), epochs, measurements[columns], confirmations, objectives)

    def rows(self, group: str, *keys: str, number: int | None = None) -> pd.DataFrame:
        """Rows of a group of measurements, of all trials or of trial `number`. Columns: number (only for all trials),
        epoch, each key of the group (see training/measures), value."""
        selected = self._groups.get(group, self.measurements.iloc[:0])
        if number is not None:
            selected = selected[selected["number"] == number]
        names = selected["name"].astype(str).str.split("/", expand=True).reindex(columns=range(len(keys)))
        first = {} if number is not None else {"number": selected["number"]}
        columns = {key: names[position] for position, key in enumerate(keys)}
        table = pd.DataFrame({**first, "epoch": selected["epoch"], **columns, "value": selected["value"]})
        return table.reset_index(drop=True)

    @cached_property
    def _groups(self) -> dict[str, pd.DataFrame]:
        return {str(group): rows for group, rows in self.measurements.groupby("group")}

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Objectives on the validation split: number, epoch, metric, value."""
        metrics = self.rows("metric", "split", "metric")
        mine = (metrics["split"] == "validation") & metrics["metric"].isin(list(self.objectives))
        return metrics[mine].drop(columns="split").reset_index(drop=True)

    def terms(self, number: int | None = None) -> pd.DataFrame:
        """Loss terms of all trials or of trial `number`. Columns: number (only for all trials), epoch, term, value,
        weight, contribution, gradient (see records.TermRecord)."""
        keys = ["epoch", "term"] if number is not None else ["number", "epoch", "term"]
        series = [self.rows(group, "term", number=number).set_index(keys)["value"] for group in TERM_GROUPS]
        columns = [field.name for field in fields(TermRecord)]
        return pd.DataFrame(dict(zip(columns, series, strict=True))).reset_index()

    def probe_cost(self, quantity: str, number: int | None = None) -> float:
        """Sum of `probes` (a count) or `seconds` over the epochs of all trials or of trial `number`."""
        costs = self.rows("probe", "quantity", number=number)
        return float(costs[costs["quantity"] == quantity]["value"].sum())

    def of(self, name: str, number: int) -> pd.DataFrame:
        """Rows of a trial. name: of the table, `epochs` or `confirmations`."""
        table: pd.DataFrame = getattr(self, name)
        return table[table["number"] == number].drop(columns="number").reset_index(drop=True)


def _read(store: StudyStore, table: sa.Table) -> pd.DataFrame:
    """Read the study's rows of a table, with the trial number in place of Optuna's id."""
    trials = store.database.optuna_table("trials")
    columns = [column for column in table.c if column.name != "trial_id"]
    query = (
        sa.select(trials.c.number, *columns)
        .join(trials, trials.c.trial_id == table.c.trial_id)
        .where(trials.c.study_id == store.study_id)
        .order_by(trials.c.number, *(column for column in columns if column.primary_key))
    )
    with store.database.reading() as connection:
        rows = connection.execute(query).all()
    return pd.DataFrame([tuple(row) for row in rows], columns=["number", *(column.name for column in columns)])


def _trials(store: StudyStore, summary: StudySummary) -> pd.DataFrame:
    frozen = {trial.number: trial for trial in store.trials()}
    wanted = summary.directions
    rows: list[dict[str, Any]] = [
        {
            "number": trial.number,
            "state": trial.state,
            "baseline": trial.baseline,
            "reason": trial.reason,
            "epochs": trial.epochs,
            "start": frozen[trial.number].datetime_start,
            "end": frozen[trial.number].datetime_complete,
            **trial.params,
            **trial.values,
            **{f"test.{name}": value for name, value in summary.tested.get(trial.number, {}).items() if name in wanted},
        }
        for trial in summary.trials
    ]
    first = ["number", "state", "baseline", "reason", "epochs", "start", "end", *summary.directions]
    frame = pd.DataFrame(rows)
    return frame.reindex(columns=[*first, *(name for name in frame.columns if name not in first)])
