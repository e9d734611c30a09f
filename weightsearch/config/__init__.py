"""Study files: reading, checking, ranges. Imports no network, no data set and no Ray."""

from weightsearch.config.ranges import Choices, FloatRange, IntRange, Range
from weightsearch.config.schema import Configuration
from weightsearch.config.study import (
    StudyConfig,
    StudyIdentity,
    load_base,
    load_configuration,
    load_identity,
    load_study,
    locate,
)

__all__ = [
    "Choices",
    "Configuration",
    "FloatRange",
    "IntRange",
    "Range",
    "StudyConfig",
    "StudyIdentity",
    "load_base",
    "load_configuration",
    "load_identity",
    "load_study",
    "locate",
]
