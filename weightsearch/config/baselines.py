"""The baselines of a study: which values they must give, and which they may."""

from __future__ import annotations

import difflib

from weightsearch.config.paths import Unsettable, fill, flat
from weightsearch.config.ranges import find_ranges, is_range
from weightsearch.config.schema import RANGE_SECTIONS
from weightsearch.config.study import StudyConfig
from weightsearch.config.yaml_source import describe
from weightsearch.errors import counted
from weightsearch.plugins import known_words


def check_baselines(config: StudyConfig) -> None:
    """Raise ConfigError for a baseline that leaves a searched value open, or sets what it may not."""
    yaml_source = config.yaml_source
    section = ("search", "baselines")
    if len(config.search.baselines) > config.search.trials:
        raise yaml_source.error(
            ("search", "trials"),
            f"{counted(config.search.trials, 'trial')} cannot hold the "
            f"{counted(len(config.search.baselines), 'baseline')}",
        )
    known = flat(config.tree)
    for name, values in config.search.baselines.items():
        place = (*section, name)
        for path, value in values.items():
            weight = f"{path}.weight"
            if path.count(".") == 1 and path.startswith("loss.") and not isinstance(value, dict):
                raise yaml_source.error((*place, path), f"is a loss term, not a value; did you mean {weight}: {value}?")
            if path.split(".")[0] not in RANGE_SECTIONS:
                raise yaml_source.error((*place, path), f"a baseline may set values in {', '.join(RANGE_SECTIONS)}")
            if is_range(value) or (isinstance(value, dict) and any(find_ranges(value))):
                raise yaml_source.error((*place, path), "a baseline needs a value, not a range")
        for path in config.space:
            if path not in values:
                unknown = [one for one in values if one not in config.space and one not in known]
                if close := difflib.get_close_matches(path, unknown, n=1, cutoff=0.8):
                    raise yaml_source.error((*place, close[0]), f"unknown; did you mean {path!r}?")
                raise yaml_source.error(place, f"leaves the searched {path} open; give it a value")
        try:
            fill(config.tree, values)
        except Unsettable as error:
            raise yaml_source.error(place, f"sets a value below {describe(error.value)}") from None


def check_terms(config: StudyConfig) -> None:
    """Raise ConfigError for a baseline with a loss term that the study does not have. Databases of older versions may
    hold such baselines."""
    terms = list(config.base.loss)
    for name, values in config.search.baselines.items():
        for path in values:
            section, _, rest = path.partition(".")
            term = rest.partition(".")[0]
            if section == "loss" and term not in terms:
                text = f"the study has no term {term!r}{known_words(term, terms)}"
                way_out = f"; for a term of this baseline alone, give it weight 0 in loss: {term}: {{weight: 0}}"
                raise config.yaml_source.error(("search", "baselines", name, path), text + way_out)
