"""Batches in a given order; the next batch is gathered while the current one is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from weightsearch.data.batch import Batch
from weightsearch.data.dataset import Dataset


def batches(dataset: Dataset, order: NDArray[np.int64], batch_size: int, device: torch.device) -> Iterator[Batch]:
    """Yield batches of these frames on the device; the last may be smaller. For a GPU they are copied asynchronously
    from pinned memory."""
    pin = device.type == "cuda"
    chunks = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = [pool.submit(dataset.gather, chunk, pin=pin) for chunk in chunks[:1]]
        for position in range(len(chunks)):
            parts = waiting.pop().result()
            if position + 1 < len(chunks):
                waiting.append(pool.submit(dataset.gather, chunks[position + 1], pin=pin))
            yield dataset.to_batch(parts, device)
