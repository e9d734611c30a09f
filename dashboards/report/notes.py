"""Notes, figures and pictures in optuna-dashboard."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from optuna_dashboard import save_note, save_plotly_graph_object
from sqlalchemy.exc import SQLAlchemyError

from weightsearch.analysis.gradient_ratio import Pull, pull_of
from weightsearch.dashboards.report.data import ReportData, read_report_data
from weightsearch.dashboards.report.figures import small
from weightsearch.dashboards.report.loss_sections import conflicts_section, contributions_section, gradients_section
from weightsearch.dashboards.report.search_sections import importance_section
from weightsearch.dashboards.report.section import Table, number
from weightsearch.dashboards.report.summary_section import summary_section
from weightsearch.dashboards.server.artifacts import artifact_meta
from weightsearch.errors import WeightsearchError
from weightsearch.records import TermRecord
from weightsearch.study.store import BASELINE, REASON, StudyStore
from weightsearch.study.writer import Writer

SECONDS: Final = 30.0  # between updates of a running study's note
SHARE: Final = 0.02  # most of the run time spent on notes: large studies update less often
CONSTRAINT: Final = "constraints:"  # prefix of names, in Optuna's attributes of a trial
MIRRORED: Final = "constraints"  # the attribute that optuna-dashboard reads
FIGURE_BYTES: Final = 250_000  # largest figure: each 2 kB are a row of the database
NOTED: Final = (contributions_section, gradients_section, conflicts_section, importance_section)


class Notes:
    """Writer of the notes of a study and its trials. A trial's note is written in the transaction that ends it."""

    def __init__(self, store: StudyStore, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self.clock = clock
        self.due = 0.0

    def before_end(self, trial: int, state: TrialState) -> None:
        """Write the note of a trial that is about to end. Call inside a Writer's transaction."""
        storage, trial_id = self.store.storage, self.store.trial_id(trial)
        attributes = storage.get_trial_system_attrs(trial_id)
        values = [value for name, value in attributes.items() if name.startswith(CONSTRAINT)]
        if values and MIRRORED not in attributes:
            storage.set_trial_system_attr(trial_id, MIRRORED, values)
        if (meta := artifact_meta(self.store, trial)) is not None:
            storage.set_trial_system_attr(trial_id, *meta)
        if state != TrialState.PRUNED and (text := self._text(trial, state)):
            target = SimpleNamespace(storage=storage, study=self.store.study, _trial_id=trial_id)
            save_note(target, text)

    def study(self, writer: Writer, *, now: bool = False) -> None:
        """Write the study's note and figures if they are due. now: write them in any case."""
        started = self.clock()
        if not now and started < self.due:
            return
        report = read_report_data(self.store, pictures=False)
        note, figures = study_note(report), study_figures(report)
        with writer.transaction():
            save_note(self.store.study, note)
            for name, figure in figures.items():
                save_plotly_graph_object(self.store.study, figure, graph_object_id=name)
        self.due = self.clock() + max(SECONDS, (self.clock() - started) / SHARE)

    def _text(self, trial: int, state: TrialState) -> str:
        """Text of a trial's note; empty on an unexpected error, since the trial must end with or without a note."""
        try:
            return self._of_trial(trial, state)
        except (WeightsearchError, SQLAlchemyError, StorageInternalError):
            raise
        except Exception:
            return ""

    def _of_trial(self, trial: int, state: TrialState) -> str:
        frozen = self.store.trial(trial)
        name = frozen.user_attrs.get(BASELINE)
        head = f"Baseline **{plain(name)}**." if name else ""
        if state == TrialState.FAIL:
            return f"{head}\n\nFailed: {plain(frozen.user_attrs.get(REASON, 'no reason was given'))}\n"
        terms = self.store.terms(trial)
        pull = pull_of(self.store.norms(trial))
        where = "not measured" if pull is None else f"{pull.words}, epoch {pull.epoch}"
        rows = [_term_row(name, term, pull) for name, term in terms.items()]
        columns = ["term", "weight", "unweighted", "contribution", f"gradient ratio ({where})"]
        metrics = ", ".join(f"{metric} {value:.4f}" for metric, value in self.store.metrics(trial).items())
        table = markdown(Table(columns, rows))
        text = f"{head}\n\n{table}\n\nEach unweighted term has its own unit. On the validation split: {metrics}.\n"
        return text + "".join(f"\nWarning: {plain(warning)}.\n" for warning in self.store.pixel_warnings(trial))


def _term_row(name: str, term: TermRecord, pull: Pull | None) -> list[str]:
    ratio = None if pull is None else pull.ratios.get(name)
    shown = number(ratio, 3)
    return [name, number(term.weight), number(term.value), f"{100 * term.contribution:.1f} %", shown]


def study_note(report: ReportData) -> str:
    """Format a study's summary as Markdown."""
    section = summary_section(report)
    lines = [f"**{value}** {what}" for value, what in section.facts]
    blocks = [
        " · ".join(lines),
        *(plain(sentence) for sentence in section.text),
        *(markdown(table) for table in section.tables),
    ]
    return "\n\n".join(blocks) + "\n"


def study_figures(report: ReportData) -> dict[str, Any]:
    """Small figures, by the id under which optuna-dashboard stores them."""
    drawn: dict[str, Any] = {}
    for make in NOTED:
        section = make(report)
        for name, figure in section.figures.items():
            caption = section.captions.get(name, name)
            title = section.title if name == section.name else f"{section.title}: {caption[:1].lower()}{caption[1:]}"
            figure.update_layout(title={"text": title, "y": 0.99}, height=None)
            figure.update_layout(margin={"t": 110}, legend={"y": 0.93})
            if len(figure.to_json()) > FIGURE_BYTES:
                figure = small(f"{title}: too large for this page, see weightsearch report")
            drawn[f"{section.name}-{name}"] = figure
    return drawn


def markdown(table: Table) -> str:
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join("| " + " | ".join(plain(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)


def plain(text: str) -> str:
    """Escape text for Markdown and HTML."""
    for sign, word in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, word)
    for sign in "\\`*_[]":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("://", "&#58;//").replace("www.", "www&#46;").replace("\n", " ")  # otherwise they become links
