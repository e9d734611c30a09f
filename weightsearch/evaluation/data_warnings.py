"""Warnings about a dataset, before training or evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from weightsearch.data.dataset import Dataset
from weightsearch.data.listing import frame_warnings
from weightsearch.data.plausible import Doubt, dataset_doubts
from weightsearch.data.source import SplitName
from weightsearch.errors import DataError
from weightsearch.metrics.protocol import Protocol, misfit


def data_warnings(
    dataset: Dataset, protocol: Protocol, splits: Sequence[SplitName] = ("train", "validation")
) -> list[str]:
    """Warnings, a line each: an implausible unit of the depth in these splits, frames that occur twice in a split or in
    two splits, and a crop for images of other proportions."""
    return _lines(dataset_doubts(dataset, splits), dataset, protocol, splits)


def _lines(
    doubts: Sequence[Doubt],
    dataset: Dataset,
    protocol: Protocol,
    splits: Sequence[SplitName] = ("train", "validation"),
) -> list[str]:
    lines = [doubt.text for doubt in doubts]
    frames, held = dataset.frames, {split: indices.tolist() for split, indices in dataset.splits.items()}
    lines += frame_warnings(dataset.configuration, frames.videos, frames.names, held)
    other = misfit(protocol.crop, (size for split in splits for size in dataset.sizes(split)))
    return lines if other is None else [*lines, other]


def warnings_before_training(dataset: Dataset, protocol: Protocol) -> list[str]:
    """Like `data_warnings`. Raises DataError if too much ground-truth depth is outside the range."""
    doubts = dataset_doubts(dataset)
    for doubt in doubts:
        if doubt.refused:
            raise DataError(doubt.text)
    return _lines(doubts, dataset, protocol)


@contextmanager
def with_warnings(dataset: Dataset, protocol: Protocol) -> Iterator[None]:
    """Add the dataset's warnings to a DataError raised inside: depth in another unit may be the cause."""
    try:
        yield
    except DataError as error:
        raise DataError("; ".join([str(error), *data_warnings(dataset, protocol)])) from error
