"""Random numbers as a function of seed, purpose and epoch: a resumed training needs no stored random state."""

from __future__ import annotations

import random
import zlib

import numpy as np
import torch
from numpy.typing import NDArray


def sequence(seed: int, purpose: str, *numbers: int) -> np.random.SeedSequence:
    """Independent entropy for a purpose, such as `order`, and numbers, such as the epoch."""
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *numbers])


def seed_process(seed: int, purpose: str, *numbers: int) -> None:
    """Seed torch (all devices) and the global generators of Python and numpy, which layers and users' code use."""
    state = sequence(seed, purpose, *numbers).generate_state(3)
    torch.manual_seed(int(state[0]))
    random.seed(int(state[1]))
    np.random.seed(int(state[2]))  # noqa: NPY002 - users' code may draw from it


def shuffled(indices: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Order of an epoch's frames."""
    return np.random.default_rng(sequence(seed, "order", epoch)).permutation(indices)
