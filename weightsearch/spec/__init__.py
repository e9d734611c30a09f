"""Study files: reading, checking, ranges. Knows no network, no data set, no Ray."""

from weightsearch.spec.ranges import Choices, FloatRange, IntRange, Range
from weightsearch.spec.sections import Configuration
from weightsearch.spec.study import (
    StudyIdentity,
    StudySpec,
    load_base,
    load_configuration,
    load_identity,
    load_study,
    locate,
    restore_study,
)

__all__ = [
    "Choices",
    "Configuration",
    "FloatRange",
    "IntRange",
    "Range",
    "StudyIdentity",
    "StudySpec",
    "load_base",
    "load_configuration",
    "load_identity",
    "load_study",
    "locate",
    "restore_study",
]
