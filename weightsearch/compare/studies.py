"""Studies side by side, and one study's best weights trained on the data of another."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from weightsearch.analysis.against_baselines import significant_from
from weightsearch.analysis.verdict import Contender, Verdict, judge
from weightsearch.config import Configuration, StudyConfig
from weightsearch.config.differences import differences
from weightsearch.config.paths import flat
from weightsearch.config.ranges import is_weight
from weightsearch.config.resolve import resolve_study
from weightsearch.config.study import parse_stored
from weightsearch.data.dataset import check_content, open_dataset
from weightsearch.data.reading import Progress
from weightsearch.errors import SearchError, TrialFailure, WeightsearchError, counted
from weightsearch.evaluation.data_warnings import data_warnings
from weightsearch.evaluation.evaluate import evaluate_checkpoint
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.plugins import all_options, known_words
from weightsearch.records import EVALUATED, EpochRecord
from weightsearch.runtime.checkpoint import essentials
from weightsearch.runtime.device import choose_device
from weightsearch.search.cpus import CpuNote
from weightsearch.search.trivial import STORED_AS, trivial_baselines
from weightsearch.study.store import CONTENT, StudyStore
from weightsearch.study.summary import StudySummary, TrialSummary, summarise
from weightsearch.training.run import CHECKPOINT, train

BEST: Final = "best"
ENOUGH_SEEDS: Final = 3  # new seeds from which on there is no warning before the training


@dataclass(frozen=True)
class Entry:
    """A set of weights on a study's data. weights: loss weights of all the study's terms. values: split -> the
    objective's value for each training: of the study's own trial, or of each seed. problem: why a value is missing.
    others: the other searched parameters, path -> value. seeds: the seeds of the values, in their order; empty for the
    study's own trial. trivial: whether it is a baseline that ignores the image."""

    study: str
    label: str
    weights: dict[str, float]
    values: dict[str, list[float]] = field(default_factory=dict)
    problem: str | None = None
    others: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    trivial: bool = False

    def mean(self, split: str) -> float | None:
        values = self.values.get(split)
        return statistics.fmean(values) if values else None

    def spread(self, split: str) -> float | None:
        """The standard deviation over the seeds; None for fewer than two."""
        values = self.values.get(split, [])
        return statistics.stdev(values) if len(values) > 1 else None

    def to_plain(self) -> dict[str, Any]:
        return {
            "study": self.study,
            "label": self.label,
            "weights": self.weights,
            "others": self.others,
            "values": self.values,
            "mean": {split: self.mean(split) for split in self.values},
            "spread": {split: self.spread(split) for split in self.values},
            "problem": self.problem,
            "seeds": self.seeds,
            "trivial": self.trivial,
        }


@dataclass
class Listener:
    """Reports the progress of the trainings. line: called with a text when a training begins. seldom: called with a
    text at every epoch; it may drop most of them. progress: called while frames are read. trainings: their total
    number, None if unknown."""

    line: Callable[[str], None] = lambda _: None
    seldom: Callable[[str], None] = lambda _: None
    progress: Progress | None = None
    trainings: int | None = None
    begun: int = 0
    what: str = ""

    def begin(self, what: str) -> None:
        self.begun += 1
        self.what = what if self.trainings is None else f"[{self.begun}/{self.trainings}] {what}"
        self.line(self.what)

    def epoch(self, text: str) -> None:
        self.seldom(f"{self.what}: {text}")


@dataclass(frozen=True)
class Compared:
    """A study to compare: its configuration, database and results. name: its name in the comparison. keep: store the
    results of new trainings with its trials."""

    config: StudyConfig
    store: StudyStore
    summary: StudySummary
    name: str
    keep: bool = False

    @classmethod
    def of(cls, store: StudyStore, name: str | None = None, *, keep: bool = False) -> Compared:
        """A study as its database stores it; later changes of its file do not matter. Raises ConfigError if something
        that the file names, such as a data folder, no longer exists."""
        summary = summarise(store)
        source = f"the study {summary.study!r} in {store.database.name}"
        config = resolve_study(parse_stored(source, store.config, len(summary.trials)))
        return cls(config, store, summary, name or summary.study, keep)

    @property
    def protocol(self) -> dict[str, Any]:
        """The evaluation protocol of the study's metrics."""
        return protocol_of(self.config.base, "validation").to_plain()


def common_objective(studies: Sequence[Compared]) -> str:
    """The first objective of the first study, which the others must have too. Raises SearchError."""
    name, direction = next(iter(studies[0].summary.directions.items()))
    for study in studies:
        if study.summary.directions.get(name) != direction:
            have = ", ".join(f"{way} {objective}" for objective, way in study.summary.directions.items())
            raise SearchError(f"the study {study.name!r} has {have}, not {direction} {name}")
    return name


def other_protocols(studies: Sequence[Compared]) -> list[str]:
    """A line for every study whose evaluation protocol differs from the first study's."""
    first = flat(studies[0].protocol)
    lines: list[str] = []
    for study in studies[1:]:
        if changed := differences(first, flat(study.protocol)):
            names = f"{study.name} is measured otherwise than {studies[0].name}"
            lines.append(f"{names}: {'; '.join(changed)}")
    return lines


def side_by_side(studies: Sequence[Compared], objective: str) -> list[Entry]:
    """Each study's best trial and baselines, with the values in its database."""
    entries: list[Entry] = []
    for study in studies:
        summary = study.summary
        for label, trial in ((BEST, summary.best), *summary.baselines.items()):
            if trial is None or trial.state != "COMPLETE":
                why = "no trial is COMPLETE" if trial is None else trial.reason or trial.state
                entries.append(Entry(study.name, label, {}, problem=why))
                continue
            values = {split: study.store.metrics(trial.number, split).get(objective) for split in EVALUATED}
            measured = {split: [value] for split, value in values.items() if value is not None}
            entries.append(
                Entry(study.name, label, weights_of(study.config, trial.params), measured, None, _others(trial.params))
            )
    return entries


def _others(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not is_weight(name)}


def weights_of(config: StudyConfig, params: Mapping[str, Any]) -> dict[str, float]:
    """Loss weights by term."""
    return {name: term.weight for name, term in config.configuration(params).loss.items()}


def candidates(
    study: Compared, others: Sequence[Compared], baselines: Collection[str] = ()
) -> dict[str, Mapping[str, Any]]:
    """The configurations that `compare` may train on a study's data: name -> values of the searched parameters. These
    are its best trial, its baselines (the given ones, or all) and, for each of the other studies, its best trial with
    the loss of the other's best trial: all weights, and the loss options that either study searched. Raises
    SearchError, also if the studies have different loss terms."""
    summary = study.summary
    if summary.best is None:
        raise SearchError(f"the study {study.name!r} has no COMPLETE trial")
    for name in baselines:
        if name not in summary.baselines:
            raise WeightsearchError(
                f"--baseline: the study {study.name!r} has no baseline {name!r}{known_words(name, summary.baselines)}"
            )
    configurations: dict[str, Mapping[str, Any]] = {BEST: summary.best.params}
    configurations |= {
        name: trial.params for name, trial in summary.baselines.items() if name in (baselines or (name,))
    }
    for other in others:
        if other.summary.best is None:
            raise SearchError(f"the study {other.name!r} has no COMPLETE trial")
        weights = weights_of(other.config, other.summary.best.params)
        if set(weights) != set(study.config.base.loss):
            raise SearchError(
                f"the studies {study.name!r} and {other.name!r} have other loss terms: "
                f"{', '.join(study.config.base.loss)} and {', '.join(weights)}"
            )
        searched = {path for each in (summary, other.summary) if each.best for path in each.best.params}
        theirs = _loss_of(other.config.configuration(other.summary.best.params))
        carried = {path: value for path, value in theirs.items() if is_weight(path) or path in searched}
        configurations[f"best of {other.name}"] = {**summary.best.params, **carried}
    return configurations


def _loss_of(configuration: Configuration) -> dict[str, Any]:
    """The weights and options of the loss by their paths: options of the file and defaults, without values that come
    from the data section."""
    terms: dict[str, Any] = {}
    context = configuration.loss_context
    for name, term in configuration.loss.items():
        options = all_options("loss", term.term or name, term.options, context)
        own = {key: value for key, value in options.items() if key in term.options or key not in context}
        terms[name] = {"weight": term.weight, **own}
    return flat({"loss": terms})


def trained_anew(
    studies: Sequence[Compared],
    objective: str,
    seeds: int,
    device: str,
    listener: Listener,
    baselines: Collection[str] = (),
    *,
    carry: bool = False,
) -> list[Entry]:
    """Train each study's best trial and its baselines (the given ones, or all) with new seeds. seeds: their number.
    carry: also train with the best weights of the other studies. Raises SearchError and DataError before the first
    training."""
    chosen = [
        (study, label, values)
        for study in studies
        for label, values in candidates(
            study, [other for other in studies if carry and other is not study], baselines
        ).items()
    ]
    for study in studies:
        dataset = open_dataset(study.config.base, progress=listener.progress)
        check_content(study.store.config.get(CONTENT, {}), dataset.content, f"the study {study.name!r}")
        for line in data_warnings(dataset, protocol_of(study.config.base, "validation")):
            listener.line(f"warning: {line}")
    listener.trainings = seeds * len(chosen)
    sets = counted(len(chosen), "set of weights", "sets of weights")
    listener.line(f"{counted(listener.trainings, 'training')}: {sets}, {counted(seeds, 'new seed')} each")
    if seeds < ENOUGH_SEEDS:
        listener.line(_too_few(seeds))
    return [
        train_candidate(study, label, values, objective, new_seeds(study, seeds), device, listener)
        for study, label, values in chosen
    ]


def _too_few(seeds: int) -> str:
    """The warning that so few new seeds can hardly decide anything."""
    enough, more = significant_from(ENOUGH_SEEDS), significant_from(5)
    limits = (
        f"with {ENOUGH_SEEDS} seeds a difference must be at least {enough:.1f} standard deviations (of the differences "
        f"between seeds), with 5 at least {more:.1f}; more if several baselines are compared"
    )
    if seeds < 2:
        return f"warning: one new seed shows no spread, so no difference can be significant; {limits}"
    return f"warning: with {seeds} new seeds a difference must be at least {significant_from(seeds):.1f} standard " + (
        f"deviations to be significant; {limits}"
    )


def new_seeds(study: Compared, count: int) -> list[int]:
    """Seeds that the search did not use: all its trials have the seed of the study file."""
    return [study.config.base.seed + number for number in range(1, count + 1)]


def trivial_entries(study: Compared, objective: str) -> list[Entry]:
    """The trivial baselines that ignore the image; they need no training."""
    entries = []
    for label in dict.fromkeys(label for of in study.summary.trivial.values() for label in of):
        values = {
            split: of[label][objective] for split, of in study.summary.trivial.items() if objective in of.get(label, {})
        }
        if values:
            entries.append(
                Entry(study.name, label, {}, {split: [value] for split, value in values.items()}, trivial=True)
            )
    return entries


def with_trivial(study: Compared, progress: Progress | None = None) -> Compared:
    """The study with its trivial baselines measured on both splits; databases of older versions lack the test split.
    New measurements are stored if `study.keep` is set."""
    base, config = study.config.base, study.store.config
    missing = [split for split, name in STORED_AS.items() if name not in config]
    if not missing:
        return study
    dataset = open_dataset(base, progress=progress)
    trivial = study.summary.trivial
    for split in missing:
        trivial[split] = trivial_baselines(dataset, base, split, study.summary.directions, progress)
        if study.keep:
            study.store.note(STORED_AS[split], trivial[split])
    return replace(study, summary=replace(study.summary, naive=trivial["validation"], naive_test=trivial["test"]))


def verdict_of(study: Compared, entries: Sequence[Entry], objective: str) -> Verdict | None:
    """The verdict on a study's best trial, from its database and from the entries trained by this command; None without
    a COMPLETE trial."""
    summary = study.summary
    if summary.best is None:
        return None
    mine = {entry.label: entry for entry in entries if entry.study == study.name and not entry.trivial}
    best = _with_retrained(summary.contender(summary.best), mine.pop(BEST, None), objective)
    others: dict[str, Contender] = {}
    for label, trial in summary.baselines.items():
        entry = mine.pop(label, None)
        if trial.state == "COMPLETE" and trial.number != summary.best.number:
            others[label] = _with_retrained(summary.contender(trial), entry, objective)
    others |= {label: _with_retrained(Contender(), entry, objective) for label, entry in mine.items() if entry.seeds}
    return judge(best, others, summary.trivial, summary.directions)


def _with_retrained(contender: Contender, entry: Entry | None, objective: str) -> Contender:
    """The contender with the values of the seeds trained by this command."""
    if entry is None or not entry.seeds:
        return contender
    retrained: dict[str, Mapping[str, Mapping[int, float]]] = dict(contender.retrained)
    for split, values in entry.values.items():
        before = retrained.get(split, {})
        now = dict(before.get(objective, {})) | dict(zip(entry.seeds, values, strict=True))
        retrained[split] = {**before, objective: now}
    return Contender(contender.search, retrained)


def train_candidate(
    study: Compared,
    label: str,
    values: Mapping[str, Any],
    objective: str,
    seeds: Sequence[int],
    device: str,
    listener: Listener,
) -> Entry:
    """Train one set of values on a study's data, once for each seed, and measure it on validation and test. A training
    that was finished before, on the same data, is not repeated."""
    base = study.config.configuration(values)
    content = open_dataset(base, progress=listener.progress).content
    folder = Path(base.resources.run_dir) / study.summary.study / "compared"
    weights = {name: term.weight for name, term in base.loss.items()}
    measured: dict[str, list[float]] = {split: [] for split in EVALUATED}
    problem: str | None = None
    done: list[int] = []
    for seed in seeds:
        listener.begin(f"{study.name}, {label}, seed {seed}")
        configuration = base.model_copy(update={"seed": seed})
        try:
            metrics = _trained(configuration, _folder(folder, configuration, content), device, objective, listener)
        except TrialFailure as failure:
            problem = f"seed {seed}: {failure}"
            continue
        done.append(seed)
        for split, split_metrics in metrics.items():
            measured[split].append(split_metrics[objective])
        if study.keep and (trial := _trial_of(study.summary, label)) is not None:
            study.store.confirm(trial.number, seed, metrics)
    by_split = {split: values for split, values in measured.items() if values}
    return Entry(study.name, label, weights, by_split, problem, _others(values), done)


def _trial_of(summary: StudySummary, label: str) -> TrialSummary | None:
    """The trial that a candidate repeats; None for a candidate with the weights of another study."""
    return summary.best if label == BEST else summary.baselines.get(label)


def _folder(parent: Path, configuration: Configuration, content: Mapping[str, float]) -> Path:
    """The folder of a training, named by its data and by every setting that its results depend on. Older versions named
    it by all settings; such a folder is used if it exists."""
    held = [f"{name} {value:.{3 if 'picture' in name else 6}g}" for name, value in content.items()]
    older = parent / _digest([configuration.model_dump_json(), *held])
    if older.exists():
        return older
    return parent / _digest([json.dumps(essentials(configuration), sort_keys=True), *held])


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:16]


def _trained(
    configuration: Configuration, folder: Path, device: str, objective: str, listener: Listener
) -> dict[str, dict[str, float]]:
    epochs = configuration.train.epochs
    chosen = choose_device(configuration, device)
    cpu = CpuNote(folder, chosen, lambda text: listener.line(f"warning: {text}"))

    def on_epoch(record: EpochRecord) -> None:
        cpu.trained()
        value = record.metrics.get(objective)
        listener.epoch(f"epoch {record.epoch}/{epochs}" + ("" if value is None else f"  {objective} {value:.4f}"))

    result = train(
        configuration,
        folder,
        chosen,
        progress=listener.progress,
        on_epoch=on_epoch,
        on_resume=lambda epoch: cpu.resumed() if epoch < epochs else None,
        accepted=True,
    )
    metrics = {"validation": result["metrics"]}
    if len(open_dataset(configuration).splits["test"]):
        metrics["test"] = evaluate_checkpoint(configuration, folder / CHECKPOINT, "test", device)[0]
    return metrics
