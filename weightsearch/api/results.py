"""A study that is in a database: its trials, measurements, figures, report and export."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from weightsearch.config import load_identity
from weightsearch.config.paths import fill
from weightsearch.errors import CALL, StoreError, WeightsearchError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from weightsearch.dashboards.report.data import ReportData
    from weightsearch.dashboards.report.section import Section
    from weightsearch.study.store import StudyStore
    from weightsearch.study.summary import TrialSummary

SUFFIXES: Final = (".yaml", ".yml")  # of study files


@dataclass(frozen=True)
class Trial:
    """A set of values that was trained, or will be.

    number: counts from 0. state: COMPLETE, PRUNED, FAIL, RUNNING or WAITING. params: dotted path -> value. values:
    objective -> value on the validation split, at the epoch that counts; empty unless COMPLETE. baseline: its name in
    the study file; None for a searched trial. configuration: the sections of the study file with the trial's values.
    """

    number: int
    state: str
    params: dict[str, Any]
    values: dict[str, float]
    baseline: str | None
    configuration: dict[str, Any]


def open_study(source: str | Path, name: str | None = None) -> Study:
    """Open an existing study for reading.

    source: a database URL (sqlite:///FILE or postgresql://...), an SQLite file, or a study file (.yaml). name: the
    study's; may be left out for a study file, and for a database that holds one study. Raises StoreError.
    """
    from weightsearch.study.store import StudyStore
    from weightsearch.study.url import check_storage

    text = str(source)
    if "://" not in text and Path(text).suffix in SUFFIXES:
        identity = load_identity(text)
        check_storage(identity.storage, identity.place)
        return Study(StudyStore.open(identity.storage, name or identity.name), (text,))
    url = text if "://" in text else f"sqlite:///{Path(text).absolute()}"
    return Study(StudyStore.open(url, name or _only_study(url)), CALL)


class Study:
    """A study's trials and measurements. They are read at the first access; `reload` reads them again. As a context
    manager it closes the database."""

    def __init__(self, store: StudyStore, call: tuple[str, ...]) -> None:
        self._store = store
        store.call = call

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in self._data.summary.states.items() if count)
        return f"<weightsearch study {self.name!r}: {states or 'no trials'}>"

    @property
    def name(self) -> str:
        return self._store.study.study_name

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial: number, state, baseline, reason (of a failure), epochs, start, end, each objective on the
        validation split, each parameter by its dotted path, and each objective on the test split (`test.` before its
        name) for the trials that were compared."""
        return self._data.frames.trials.copy()

    @property
    def epochs(self) -> pd.DataFrame:
        """One row an epoch of a trial: number, epoch, seconds, steps, empty_steps (whose batch had no valid pixel),
        train_loss, lr, problem (why there are no more probes), and every metric on the validation split."""
        frames = self._data.frames
        metrics = frames.rows("metric", "split", "metric")
        metrics = metrics[metrics["split"] == "validation"]
        wide = metrics.pivot(index=["number", "epoch"], columns="metric", values="value")
        return frames.epochs.join(wide, on=["number", "epoch"])

    @property
    def terms(self) -> pd.DataFrame:
        """One row a loss term of an epoch of a trial: number, epoch, term, value (unweighted, in the term's unit),
        weight, contribution (share of the weighted sum), gradient (norm of the weighted term's gradient at the
        network's outputs)."""
        return self._data.frames.terms()

    @property
    def gradients(self) -> pd.DataFrame:
        """One row a loss term of an epoch of a trial at a place of measurement: number, epoch, place (`shared`
        parameters or `heads`), term, norm (of the weighted term's gradient), ratio (norm over the mean norm of all
        terms at the place; NaN for a term without a gradient)."""
        from weightsearch.analysis.gradient_ratio import ratios

        rows = self._data.frames.rows("gradient", "place", "term").rename(columns={"value": "norm"})
        rows["ratio"] = float("nan")
        for _, group in rows.groupby(["number", "epoch", "place"]):
            of_terms = ratios(dict(zip(group["term"], group["norm"], strict=True)))
            rows.loc[group.index, "ratio"] = group["term"].map(of_terms)
        return rows

    def measurements(self, group: str, *keys: str) -> pd.DataFrame:
        """The rows of any group of measurements: number, epoch, a column for each key, value. The groups and their keys
        are listed in the documentation under "Measurements"."""
        return self._data.frames.rows(group, *keys)

    @property
    def best(self) -> Trial | None:
        """The COMPLETE trial with the best first objective; None without one."""
        best = self._data.summary.best
        return None if best is None else self._trial(best)

    @property
    def baselines(self) -> dict[str, Trial]:
        """The baselines by name."""
        return {name: self._trial(trial) for name, trial in self._data.summary.baselines.items()}

    @property
    def verdict(self) -> list[str]:
        """The verdict on the best trial, in sentences."""
        return [sentence.text for sentence in self._data.summary.sentences()]

    @property
    def figures(self) -> dict[str, list[str]]:
        """The figures of the report: section -> names."""
        return {section.name: list(section.figures) for section in self._sections if section.figures}

    def figure(self, section: str, name: str | None = None) -> go.Figure:
        """A figure of the report, such as figure("contributions"). name: name of the figure in a section with several
        figures (default: the first). Raises WeightsearchError with the existing names."""
        names = self.figures
        if section not in names:
            raise WeightsearchError(f"no figure {section!r}; this study has {', '.join(names) or 'none yet'}")
        if name is not None and name not in names[section]:
            raise WeightsearchError(f"{section}: no figure {name!r}; it has {', '.join(names[section])}")
        drawn = next(part for part in self._sections if part.name == section)
        return drawn.figures[name or names[section][0]]

    def report(self, path: str | Path) -> Path:
        """Write the report as one self-contained HTML page. Returns its path."""
        from weightsearch.dashboards.report.page import render
        from weightsearch.files import write_text

        target = Path(path)
        write_text(target, render(self.name, self._sections, datetime.now().astimezone()))
        return target

    def export(self, path: str | Path = "best.yaml") -> Path:
        """Write the best configuration as YAML that trains as it is. Returns its path. Raises StoreError without a
        COMPLETE trial."""
        from weightsearch.files import write_text
        from weightsearch.study.export import best_configuration

        target = Path(path)
        write_text(target, best_configuration(self._store, self._data.summary))
        return target

    def reload(self) -> None:
        """Read the study again, for example if it is still running."""
        self._store.forget()
        for name in ("_data", "_sections"):
            self.__dict__.pop(name, None)

    def close(self) -> None:
        self._store.close()

    @cached_property
    def _data(self) -> ReportData:
        from weightsearch.dashboards.report.data import read_report_data

        return read_report_data(self._store)

    @cached_property
    def _sections(self) -> list[Section]:
        from weightsearch.dashboards.report.page import chosen_sections

        return chosen_sections(self._data, ())

    def _trial(self, trial: TrialSummary) -> Trial:
        configuration = fill(self._store.config["tree"], trial.params)
        return Trial(trial.number, trial.state, trial.params, trial.values, trial.baseline, configuration)


def _only_study(url: str) -> str:
    """The name of the only study of a database. Raises StoreError if there is not exactly one."""
    import optuna

    from weightsearch.study.database import Database

    database = Database(url, mode="read")
    try:
        names = optuna.get_all_study_names(database.storage)
    finally:
        database.close()
    if len(names) != 1:
        raise StoreError(f"{database.name}: name the study; studies there: {', '.join(names) or 'none'}")
    return str(names[0])
