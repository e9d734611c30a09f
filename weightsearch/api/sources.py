"""Study files and configurations, from paths or from their content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightsearch.config import Configuration, StudyConfig, load_configuration
from weightsearch.config import load_study as read_study_file
from weightsearch.config.extends import Source
from weightsearch.config.ranges import text_of
from weightsearch.errors import CALL, WeightsearchError, hide
from weightsearch.plugins import find_plug_ins_in

Overrides = Mapping[str, Any]  # dotted path -> value, such as {"train.epochs": 4}


def load_study(study: Source, overrides: Overrides | None = None) -> StudyConfig:
    """Read and check a study file.

    study: a path, or the file's content as a mapping. overrides: dotted path -> value, such as {"train.epochs": 4}.
    Returns a StudyConfig: `name`, `space` (range of every searched parameter by its path), `base` (the configuration at
    the first value of every range), `search` and `storage`. Raises ConfigError, which names the value, the file and the
    line.
    """
    find_plug_ins(study)
    return read_study_file(study, override_words(overrides))


def configuration_of(config: Source | Configuration, overrides: Overrides | None) -> Configuration:
    """A training configuration, read from a file or its content unless it is one already. Raises ConfigError."""
    if isinstance(config, Configuration):
        if overrides:
            raise WeightsearchError("overrides are for a file, or for its content")
        return config
    find_plug_ins(config)
    return load_configuration(config, override_words(overrides))


def override_words(overrides: Overrides | None) -> list[str]:
    """Overrides as `path=value`."""
    return [f"{path}={json.dumps(value, default=str)}" for path, value in (overrides or {}).items()]


def find_plug_ins(source: Source) -> None:
    """Find plug-ins beside a file, or in the working folder for a file's content."""
    find_plug_ins_in(Path.cwd() if isinstance(source, Mapping) else Path(source).absolute().parent)


def call_of(study: Source | StudyConfig, overrides: Overrides | None) -> tuple[str, ...]:
    """Study file and overrides, for commands in messages, with `***` in place of a password."""
    if isinstance(study, (StudyConfig, Mapping)):
        return CALL
    words = [hide(f"{path}={text_of(value)}") for path, value in (overrides or {}).items()]
    return str(study), *(word for override in words for word in ("--set", override))
