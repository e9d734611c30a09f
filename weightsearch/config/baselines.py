"""Checks of a study's baselines: the values that they must and may set."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from weightsearch.config.paths import Unsettable, fill, flat, term_of
from weightsearch.config.ranges import find_ranges, is_range, text_of
from weightsearch.config.schema import RANGE_SECTIONS
from weightsearch.config.study import StudyConfig
from weightsearch.config.yaml_source import YamlSource, describe, quoted
from weightsearch.errors import ConfigError, counted
from weightsearch.plugins import known_words


def check_baselines(config: StudyConfig) -> None:
    """Raise ConfigError for a baseline that leaves a searched parameter open, or sets a value that it may not set."""
    yaml_source = config.yaml_source
    if len(config.search.baselines) > config.search.trials:
        raise yaml_source.error(
            ("search", "trials"),
            f"{counted(config.search.trials, 'trial')} cannot hold the "
            f"{counted(len(config.search.baselines), 'baseline')}",
        )
    tree_paths = flat(config.tree)
    for name, values in config.search.baselines.items():
        fault = partial(yaml_source.baseline_error, name)
        for path, value in values.items():
            weight = f"{path}.weight"
            if path.count(".") == 1 and path.startswith("loss.") and not isinstance(value, dict):
                raise fault([path], f"is a loss term, not a value; did you mean {weight}: {value}?")
            if path.split(".")[0] not in RANGE_SECTIONS:
                raise fault([path], f"a baseline may set values in {', '.join(RANGE_SECTIONS)}")
            if is_range(value) or (isinstance(value, dict) and any(find_ranges(value))):
                raise fault([path], "a baseline needs a value, not a range")
        missing = [path for path in config.space if path not in values]
        for path in missing:
            unknown = [given for given in values if given not in config.space and given not in tree_paths]
            if close := difflib.get_close_matches(path, unknown, n=1, cutoff=0.8):
                raise fault([close[0]], f"unknown; did you mean {path!r}?")
        if missing:
            raise _incomplete(yaml_source, name, values, missing)
        try:
            fill(config.tree, values)
        except Unsettable as error:
            raise fault([], f"sets a value below {describe(error.value)}") from None


def _incomplete(yaml_source: YamlSource, name: str, values: Mapping[str, Any], missing: Sequence[str]) -> ConfigError:
    """The error for a baseline without values for some of the searched parameters."""
    keys = ("search", "baselines", name)
    added = ", ".join(f"{path}: VALUE" for path in missing)
    if not yaml_source.inherited(keys):
        return yaml_source.error(keys, f"gives no value for the searched {', '.join(missing)}; add {added}")
    written = ", ".join(f"{key}: {text_of(value)}" for key, value in values.items())
    key = quoted(name)
    return yaml_source.error(
        tuple(missing[0].split(".")),
        f"is searched, but the inherited baseline {name!r} gives no value for {', '.join(missing)}; in "
        f"search.baselines write {key}: {{{written}, {added}}}, or {key}: null to leave it out",
    )


def check_terms(config: StudyConfig) -> None:
    """Raise ConfigError for a baseline with a loss term that the study does not have. Databases of older versions may
    hold such baselines."""
    terms = list(config.base.loss)
    for name, values in config.search.baselines.items():
        for path in values:
            term = term_of(path)
            if term is not None and term not in terms:
                text = f"the study has no term {term!r}{known_words(term, terms)}"
                way_out = f"; for a term of this baseline alone, give it weight 0 in loss: {term}: {{weight: 0}}"
                raise config.yaml_source.baseline_error(name, [path], text + way_out)
