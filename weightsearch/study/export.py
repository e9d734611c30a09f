"""A study's trials as files: a configuration that trains as it is, and a table."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import yaml

from weightsearch.errors import StoreError
from weightsearch.spec.study import fill
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import StudySummary, TrialSummary, summarise

HEADER: Final = "# The configuration of trial {number} of the study {study}. Train it: weightsearch train FILE\n"


def best_configuration(store: StudyStore, summary: StudySummary | None = None) -> str:
    """YAML of the best COMPLETE trial's configuration with its provenance. Raises StoreError if there is none."""
    summary = summary or summarise(store)
    if summary.best is None:
        counts = ", ".join(f"{count} {state}" for state, count in summary.states.items() if count) or "no trials"
        raise StoreError(f"the study {summary.study!r} has no COMPLETE trial to export ({counts})")
    return configuration_of(store, summary.best)


def configuration_of(store: StudyStore, trial: TrialSummary) -> str:
    """YAML of one trial's configuration with its provenance."""
    protocol, environment = store.protocol_and_environment(trial.number)
    tree = fill(store.spec["tree"], trial.params)
    tree["provenance"] = {
        "study": store.study.study_name,
        "trial": trial.number,
        "baseline": trial.baseline,
        "objectives": dict(store.spec["objectives"]),
        "metrics": {split: found for split in ("validation", "test") if (found := store.metrics(trial.number, split))},
        "protocol": protocol,
        "versions": environment.get("versions", {}),
        "commit": environment.get("commit", ""),
        "device": environment.get("device", ""),
    }
    header = HEADER.format(number=trial.number, study=store.study.study_name)
    return header + yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def trial_table(store: StudyStore, summary: StudySummary | None = None) -> pd.DataFrame:
    """One row a trial: number, state, baseline, epochs, reason, parameters, objectives, all validation and test
    metrics (`test.` before their name)."""
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


class _Dumper(yaml.SafeDumper):
    """Numbers that any YAML reader takes for numbers (`1.0e-05`, not `1e-05`), short lists on one line."""


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
