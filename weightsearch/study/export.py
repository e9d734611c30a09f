"""Export of a study's trials: configurations for `train`, and tables."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any, Final

import pandas as pd
import yaml

from weightsearch.config.paths import fill
from weightsearch.errors import StoreError, WriteError
from weightsearch.files import write_text
from weightsearch.study.spreadsheet import to_csv
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import StudySummary, TrialSummary, summarise

HEADER: Final = "# The configuration of trial {number} of the study {study}. Train it: weightsearch train FILE\n"
TABLE: Final = "pareto.csv"
FRONT_FILE: Final = re.compile(r"trial_\d{4,}\.yaml")


def best_configuration(store: StudyStore, summary: StudySummary | None = None) -> str:
    """YAML of the best COMPLETE trial's configuration, with provenance. Raises StoreError without a COMPLETE trial."""
    summary = summary or summarise(store)
    return configuration_of(store, _best(summary))


def configuration_of(store: StudyStore, trial: TrialSummary) -> str:
    """YAML of a trial's configuration, with provenance."""
    protocol, environment = store.protocol_and_environment(trial.number)
    tree = fill(store.config["tree"], trial.params)
    tree["provenance"] = {
        "study": store.study.study_name,
        "trial": trial.number,
        "baseline": trial.baseline,
        "objectives": dict(store.config["objectives"]),
        "metrics": {
            split: metrics for split in ("validation", "test") if (metrics := store.metrics(trial.number, split))
        },
        "protocol": protocol,
        "versions": environment.get("versions", {}),
        "commit": environment.get("commit", ""),
        "device": environment.get("device", ""),
    }
    header = HEADER.format(number=trial.number, study=store.study.study_name)
    return header + yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def write_front(store: StudyStore, folder: Path, summary: StudySummary | None = None) -> tuple[Path, int]:
    """Write the Pareto-optimal trials to a folder: a configuration per trial, such as `trial_0007.yaml`, and
    `pareto.csv` (see front_table). Files of an earlier export of this study are replaced. Returns the table's path and
    the number of configurations.

    Raises StoreError if no trial is COMPLETE. Raises WriteError, before anything is written, if the folder has files of
    these names from elsewhere.
    """
    summary = summary or summarise(store)
    _best(summary)
    earlier = _own_files(folder, summary.study)
    table = front_table(summary)
    trials = {trial.number: trial for trial in summary.front}
    for number, name in zip(table["number"], table["file"], strict=True):
        write_text(folder / name, configuration_of(store, trials[number]))
    write_text(folder / TABLE, to_csv(table))
    for path in earlier - {folder / name for name in (*table["file"], TABLE)}:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(f"cannot remove {path}: {error.strerror or error}") from error
    return folder / TABLE, len(table)


def front_table(summary: StudySummary) -> pd.DataFrame:
    """Table of the Pareto-optimal trials, sorted by the first objective, best first: number, objectives on the
    validation split, parameters, baseline, file, study."""
    first, way = next(iter(summary.directions.items()))
    rows = [{"number": trial.number, **trial.values, **trial.params} for trial in summary.front]
    table = pd.DataFrame(rows)
    table["baseline"] = [trial.baseline for trial in summary.front]
    table["file"] = [f"trial_{trial.number:04d}.yaml" for trial in summary.front]
    table["study"] = summary.study
    return table.sort_values(first, ascending=way == "minimize", kind="stable", ignore_index=True)


def trial_table(store: StudyStore, summary: StudySummary | None = None) -> pd.DataFrame:
    """Table of all trials: number, state, baseline, epochs, reason, parameters, objectives, all validation metrics and
    all test metrics (with the prefix `test.`)."""
    summary = summary or summarise(store)
    rows: list[dict[str, Any]] = []
    for trial in summary.trials:
        row: dict[str, Any] = {
            "number": trial.number,
            "state": trial.state,
            "baseline": trial.baseline,
            "epochs": trial.epochs,
            "reason": trial.reason,
            **trial.params,
            **store.metrics(trial.number),
            **{f"test.{name}": value for name, value in store.metrics(trial.number, "test").items()},
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _best(summary: StudySummary) -> TrialSummary:
    if summary.best is None:
        counts = ", ".join(f"{count} {state}" for state, count in summary.states.items() if count) or "no trials"
        raise StoreError(f"the study {summary.study!r} has no COMPLETE trial to export ({counts})")
    return summary.best


def _own_files(folder: Path, study: str) -> set[Path]:
    """Files in a folder that write_front wrote for this study. Raises WriteError if other files have such names."""
    try:
        paths = [path for path in folder.iterdir() if path.name == TABLE or FRONT_FILE.fullmatch(path.name)]
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise WriteError(f"cannot write {folder}: {error.strerror or error}") from error
    for path in sorted(paths):
        if _study_of(path) != study:
            raise WriteError(f"cannot write {path}: it is there and was not exported from the study {study!r}")
    return set(paths)


def _study_of(path: Path) -> str | None:
    """Name of the study that an exported file belongs to; None if the file has no such name."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.name == TABLE:
            return next(csv.DictReader(text.splitlines()), {}).get("study")
        return str(yaml.safe_load(text)["provenance"]["study"])
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError, csv.Error):
        return None


class _Dumper(yaml.SafeDumper):
    """YAML dumper for floats that every YAML reader parses (`1.0e-05`, not `1e-05`); flat lists on one line."""


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.SequenceNode:
    plain = all(not isinstance(item, (list, dict)) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


_Dumper.add_representer(float, _float)
_Dumper.add_representer(list, _list)
