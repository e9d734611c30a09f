from __future__ import annotations

import pytest

from tests.stores import driving


@pytest.fixture
def writer(storage):
    """One driver's hold on a study that was just made."""
    with driving(storage) as made:
        yield made


@pytest.fixture
def store(writer):
    return writer.store
