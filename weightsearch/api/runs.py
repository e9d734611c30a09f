"""Running a study."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from weightsearch.api.results import Study, open_study
from weightsearch.api.sources import Overrides, call_of, load_study
from weightsearch.config import StudyConfig
from weightsearch.config.extends import Source
from weightsearch.config.yaml_source import placed
from weightsearch.errors import StoreUnavailable, WeightsearchError

if TYPE_CHECKING:
    from weightsearch.console import View
    from weightsearch.study.store import StudyStore
    from weightsearch.study.summary import StudySummary


def run(
    study: Source | StudyConfig, overrides: Overrides | None = None, *, join: bool = False, quiet: bool = False
) -> Study:
    """Run a study's trials to the end, as `weightsearch run` does, and open it.

    study: a path, the file's content as a mapping, or the result of load_study. join: join drivers that already run the
    study. quiet: print errors only. An existing study is resumed. Ctrl-C stops it; all state is in its database. Raises
    WeightsearchError.
    """
    from weightsearch.console import View

    config = study if isinstance(study, StudyConfig) else load_study(study, overrides)
    if isinstance(study, StudyConfig) and overrides:
        raise WeightsearchError("overrides are for load_study, or for a study file")
    run_study(config, View(quiet=quiet), call_of(study, overrides), join=join)
    return open_study(config.storage, config.name)


def run_study(
    config: StudyConfig, view: View, call: tuple[str, ...], *, join: bool = False, new: bool = False
) -> tuple[StudySummary, Path | None, tuple[str, ...]]:
    """Search, compare the best trial with the baselines, export. call: study file and overrides, for commands in
    messages. new: the study must not exist yet. Returns the results, the path of the best configuration, and warnings
    about the best trial's loss terms."""
    from weightsearch.console import err
    from weightsearch.dashboards.report.notes import Notes
    from weightsearch.data.dataset import outline
    from weightsearch.search.driver import StudyRun
    from weightsearch.search.status import Status
    from weightsearch.study.progress import read_counts
    from weightsearch.study.url import check_storage

    check_storage(config.storage, config.yaml_source.place(("storage",)))
    with placed(config.yaml_source):
        outline(config.base)  # errors in lists leave no database behind
    running = StudyRun(config, view, join=join, new=new, annotate=Notes)
    running.store.call = call
    try:
        with view.progress("reading frames") as progress:
            running.check(progress)
        status = Status.of(running.summary(), config.search.trials, config.base.train)
        view.begin(status, config.name, lambda complete: read_counts(running.store, complete))
        try:
            running.search(begins=lambda: view.line("starting the workers; the first epochs take a while"))
        except BaseException:
            with suppress(WeightsearchError):
                running.export(wait=False)
            raise
        finally:
            view.end()
        for problem in running.compare():
            err.print(problem, markup=False)
        best = running.export()  # now with the test metrics
        with suppress(StoreUnavailable):
            running.note(now=True)
        summary = running.summary()
        warnings: tuple[str, ...] = ()
        with suppress(StoreUnavailable):
            warnings = pixel_warnings(running.store, summary)
        return summary, best, warnings
    finally:
        running.close()


def pixel_warnings(store: StudyStore, summary: StudySummary) -> tuple[str, ...]:
    """A sentence for each loss term of the best trial that had no pixels at many steps."""
    if summary.best is None:
        return ()
    return tuple(f"{summary.best_name}: {line}" for line in store.pixel_warnings(summary.best.number))
