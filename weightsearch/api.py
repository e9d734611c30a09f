"""The public Python API. `import weightsearch as ws` has everything in __all__; the rest is private."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from weightsearch.config import Configuration, StudyConfig, load_base, load_configuration, load_identity
from weightsearch.config import load_study as read_study_file
from weightsearch.config.extends import Source
from weightsearch.config.paths import fill
from weightsearch.config.ranges import text_of
from weightsearch.config.yaml_source import placed
from weightsearch.errors import CALL, StoreError, StoreUnavailable, WeightsearchError, hide
from weightsearch.plugins import find_plug_ins_in

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from weightsearch.console import View
    from weightsearch.dashboards.report.data import ReportData
    from weightsearch.dashboards.report.section import Section
    from weightsearch.records import EpochRecord
    from weightsearch.study.store import StudyStore
    from weightsearch.study.summary import StudySummary, TrialSummary

Overrides = Mapping[str, Any]  # dotted path -> value, such as {"train.epochs": 4}
Split = Literal["train", "validation", "test"]
SUFFIXES: Final = (".yaml", ".yml")
SHOWN: Final = ("abs_rel", "rmse", "ate", "epe", "epe_noc")  # metrics in an epoch's line


def load_study(study: Source, overrides: Overrides | None = None) -> StudyConfig:
    """Read and check a study file.

    study: a path, or the file's content as a mapping. overrides: dotted path -> value, such as {"train.epochs": 4}.
    Returns a StudyConfig: `name`, `space` (range of every searched parameter by its path), `base` (the configuration at
    the first value of every range), `search` and `storage`. Raises ConfigError, which names the value, the file and the
    line.
    """
    _find_plug_ins(study)
    return read_study_file(study, _words(overrides))


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
    run_study(config, View(quiet=quiet), _call(study, overrides), join=join)
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
        """Write the report as one HTML page that needs no network. Returns its path."""
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


def train(
    config: Source | Configuration,
    folder: str | Path | None = None,
    overrides: Overrides | None = None,
    *,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Train one configuration, as `weightsearch train` does; resume from the folder's checkpoint if it has one.

    config: a path, the file's content as a mapping, or a Configuration. folder: for the checkpoint, the resolved
    configuration and the metrics. Default: runs/NAME/train. device: auto, cpu, cuda or cuda:N. quiet: print warnings
    and errors only. Returns the content of `metrics.json`: metrics, protocol, terms, history, environment. Needs
    neither Ray nor Optuna. Raises WeightsearchError."""
    from weightsearch.console import View

    configuration = _configuration(config, overrides)
    target = default_folder(configuration) if folder is None else Path(folder)
    return run_training(configuration, target, device, View(quiet=quiet))


def default_folder(configuration: Configuration) -> Path:
    """The default folder for the training of a configuration."""
    return Path(configuration.resources.run_dir) / configuration.name / "train"


def run_training(configuration: Configuration, folder: Path, device: str, view: View) -> dict[str, Any]:
    """Train one configuration, with a line for each epoch. Returns the content of `metrics.json`."""
    from weightsearch.console import err, warn
    from weightsearch.runtime.device import choose_device
    from weightsearch.search.cpus import CpuNote
    from weightsearch.training.run import train as train_configuration

    chosen = choose_device(configuration, device)
    cpu = CpuNote(folder, chosen, warn)
    epochs = configuration.train.epochs

    def on_resume(epoch: int) -> None:
        view.line(f"resuming after epoch {epoch}, from the checkpoint in {folder}")
        if epoch < epochs:
            cpu.resumed()

    def on_epoch(record: EpochRecord) -> None:
        cpu.trained()
        metrics = "  ".join(f"{name} {record.metrics[name]:.4f}" for name in SHOWN if name in record.metrics)
        shares = " ".join(f"{name} {term.contribution:.1%}" for name, term in record.terms.items())
        view.line(
            f"epoch {record.epoch}/{epochs}  loss {record.train_loss:.4f}  {metrics}  "
            f"contributions {shares}  {record.seconds:.1f} s"
        )
        for warning in record.warnings:
            err.print(f"epoch {record.epoch}: {warning}", markup=False)

    with view.progress("reading frames") as progress:
        return train_configuration(
            configuration,
            folder,
            chosen,
            progress=progress,
            on_epoch=on_epoch,
            on_resume=on_resume,
            on_warning=warn,
        )


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation. metrics: by name; units and directions are in weightsearch.metrics.METRICS.
    protocol: crop, depth range, size, scaling and aggregation of the metrics."""

    metrics: dict[str, float]
    protocol: dict[str, Any]


def evaluate(
    config: Source | Configuration,
    *,
    checkpoint: str | Path | None = None,
    predictions: str | Path | None = None,
    split: Split = "validation",
    overrides: Overrides | None = None,
    device: str = "auto",
    inverse: bool = False,
    scale: float | None = None,
) -> Evaluation:
    """The metrics of a checkpoint, or of depth maps from another program, on a split.

    checkpoint: of weightsearch, or a state dict of another program. predictions: a .npy file [N, h, w], or a folder of
    .npy or .png files, in the order of the split. inverse: predictions are 1/depth. scale: units per metre of the
    predictions. Default: floats are metres, integers are in data.depth_scale. Raises WeightsearchError.
    """
    if (checkpoint is None) == (predictions is None):
        raise WeightsearchError("give checkpoint or predictions")
    if checkpoint is not None:
        from weightsearch.evaluation.evaluate import evaluate_checkpoint

        configuration = _configuration(config, overrides)
        metrics, protocol = evaluate_checkpoint(configuration, Path(checkpoint), split, device)
    else:
        from weightsearch.evaluation.predictions import Meaning, evaluate_predictions

        if isinstance(config, Configuration):
            base = config
        else:
            _find_plug_ins(config)
            base = load_base(config, _words(overrides))
        metrics, protocol = evaluate_predictions(base, Path(str(predictions)), split, Meaning(inverse, scale, None))
    return Evaluation(metrics, protocol.to_plain())


def _configuration(config: Source | Configuration, overrides: Overrides | None) -> Configuration:
    if isinstance(config, Configuration):
        if overrides:
            raise WeightsearchError("overrides are for a file, or for its content")
        return config
    _find_plug_ins(config)
    return load_configuration(config, _words(overrides))


def _words(overrides: Overrides | None) -> list[str]:
    """Overrides as `path=value`."""
    return [f"{path}={json.dumps(value, default=str)}" for path, value in (overrides or {}).items()]


def _find_plug_ins(source: Source) -> None:
    """Find plug-ins beside a file, or in the working folder for a file's content."""
    find_plug_ins_in(Path.cwd() if isinstance(source, Mapping) else Path(source).absolute().parent)


def _call(study: Source | StudyConfig, overrides: Overrides | None) -> tuple[str, ...]:
    """Study file and overrides, for commands in messages, with `***` in place of a password."""
    if isinstance(study, (StudyConfig, Mapping)):
        return CALL
    words = [hide(f"{path}={text_of(value)}") for path, value in (overrides or {}).items()]
    return str(study), *(word for override in words for word in ("--set", override))


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
