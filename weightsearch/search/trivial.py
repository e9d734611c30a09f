"""Objectives of trivial baselines that ignore the image, evaluated once per split and stored with the study."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from weightsearch.config import Configuration
from weightsearch.data.dataset import Dataset
from weightsearch.data.reading import Progress
from weightsearch.data.source import SplitName
from weightsearch.evaluation.naive import USE_TRUTH, naive_metrics
from weightsearch.evaluation.protocols import protocol_of
from weightsearch.study.store import NAIVE, NAIVE_ON_TEST

STORED_AS: Final[dict[SplitName, str]] = {"validation": NAIVE, "test": NAIVE_ON_TEST}  # split -> name in the database


def trivial_baselines(
    dataset: Dataset,
    base: Configuration,
    split: SplitName,
    objectives: Collection[str],
    progress: Progress | None = None,
) -> dict[str, dict[str, float]]:
    """Evaluate the trivial baselines: baseline -> objective -> value, without baselines that use the split's own ground
    truth. Empty for a split without frames."""
    if not len(dataset.splits[split]):
        return {}
    metrics = naive_metrics(dataset, split, protocol_of(base, split), base.train.batch_size, progress)
    return {
        name: {objective: value for objective, value in values.items() if objective in objectives}
        for name, values in metrics.items()
        if name not in USE_TRUTH and any(objective in objectives for objective in values)
    }
