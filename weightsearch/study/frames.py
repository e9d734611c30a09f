"""A study as tables: what the analysis works on. One query a table, whatever the number of trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa

from weightsearch.records import WITHOUT_PIXELS
from weightsearch.study import tables
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import StudySummary


@dataclass(frozen=True)
class Frames:
    """Rows of one study; `number` is the trial's.

    trials: number, state, baseline, reason, epochs, start, end, each parameter by its path, each objective, and
    `test.` before the name those of the test split. epochs: number, epoch, seconds, steps, empty_steps, train_loss, lr.
    terms: number, epoch, term, value, weight, contribution, gradient (see records.TermRecord). curves: number, epoch,
    metric, value: the objectives on the validation split. probes: number, epoch, probes, seconds, problem. gradients:
    number, epoch, place, term, norm. conflicts: number, epoch, place, term, other, cosine. confirmations: number, seed,
    split, metric, value. rebalancing: number, epoch and the fields of records.RebalanceRecord: NaN for what is not
    known, lists for the histograms. without_pixels: number, epoch, term, steps (see
    records.EpochRecord). objectives: name -> direction.
    """

    trials: pd.DataFrame
    epochs: pd.DataFrame
    terms: pd.DataFrame
    curves: pd.DataFrame
    probes: pd.DataFrame
    gradients: pd.DataFrame
    conflicts: pd.DataFrame
    confirmations: pd.DataFrame
    rebalancing: pd.DataFrame
    without_pixels: pd.DataFrame
    objectives: dict[str, str]

    def of(self, name: str, number: int) -> pd.DataFrame:
        """The rows of one trial in one of the tables."""
        table: pd.DataFrame = getattr(self, name)
        return table[table["number"] == number].drop(columns="number").reset_index(drop=True)


def read_frames(store: StudyStore, summary: StudySummary) -> Frames:
    """summary: of the same moment."""
    objectives = summary.directions
    metric = tables.metrics.c
    wanted = (metric.split == "validation") & metric.metric.in_(list(objectives))
    tested = _read(store, tables.metrics, (metric.split == "test") & metric.metric.in_(list(objectives)))
    empty = _read(store, tables.metrics, metric.split == WITHOUT_PIXELS).drop(columns="split")
    curves = _read(store, tables.metrics, wanted).drop(columns="split")
    return Frames(
        trials=_trials(store, summary, tested),
        epochs=_read(store, tables.epochs),
        terms=_read(store, tables.terms),
        curves=curves,
        probes=_read(store, tables.probes),
        gradients=_read(store, tables.gradients),
        conflicts=_read(store, tables.conflicts),
        confirmations=_read(store, tables.confirmations),
        rebalancing=_with_nan(_read(store, tables.rebalancing), tables.rebalancing),
        without_pixels=empty.rename(columns={"metric": "term", "value": "steps"}),
        objectives=dict(objectives),
    )


def _read(store: StudyStore, table: sa.Table, where: sa.ColumnElement[bool] | None = None) -> pd.DataFrame:
    """A table's rows of this study, by trial number in place of Optuna's id."""
    trials = store.database.optuna_table("trials")
    columns = [column for column in table.c if column.name != "trial_id"]
    query = (
        sa.select(trials.c.number, *columns)
        .join(trials, trials.c.trial_id == table.c.trial_id)
        .where(trials.c.study_id == store.study_id)
        .order_by(trials.c.number, *(column for column in columns if column.primary_key))
    )
    if where is not None:
        query = query.where(where)
    with store.database.reading() as connection:
        rows = connection.execute(query).all()
    return pd.DataFrame([tuple(row) for row in rows], columns=["number", *(column.name for column in columns)])


def _with_nan(frame: pd.DataFrame, table: sa.Table) -> pd.DataFrame:
    """A copy with NaN for missing real numbers, also in a column without any."""
    return frame.astype({column.name: float for column in table.c if isinstance(column.type, sa.Float)})


def _trials(store: StudyStore, summary: StudySummary, tested: pd.DataFrame) -> pd.DataFrame:
    frozen = {trial.number: trial for trial in store.trials()}
    test: dict[int, dict[str, float]] = {}
    for number, metric, value in zip(tested["number"], tested["metric"], tested["value"], strict=True):
        test.setdefault(int(number), {})[f"test.{metric}"] = float(value)
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
            **test.get(trial.number, {}),
        }
        for trial in summary.trials
    ]
    first = ["number", "state", "baseline", "reason", "epochs", "start", "end", *summary.directions]
    frame = pd.DataFrame(rows)
    return frame.reindex(columns=[*first, *(name for name in frame.columns if name not in first)])
