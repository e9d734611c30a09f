"""A slice of what benchmarks/faults.py runs whole: real studies whose processes get SIGKILL at random moments."""

from __future__ import annotations

import pytest

from tests.faults.crashes import Crashes, whole_study
from tests.servers import Postgres

KILLS = 5  # of each study
SECONDS = 30.0  # until it is let alone


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outcome of the study that nothing disturbs."""
    return whole_study(tmp_path_factory.mktemp("whole"))


@pytest.mark.timeout(600)
def test_on_sqlite_with_one_worker_it_is_the_same_study(tmp_path, whole):
    crashes = Crashes(tmp_path / "study", f"sqlite:///{tmp_path}/study/study.db", 11, 1)
    crashes.run(KILLS, SECONDS)
    crashes.check(whole)
    assert sum(crashes.kills.values()) >= 2


@pytest.mark.timeout(600)
def test_on_postgresql_that_dies_too_every_trial_ends_once(tmp_path):
    server = Postgres(tmp_path / "pg")
    try:
        server.create("study")
        crashes = Crashes(tmp_path / "study", server.url("study"), 4, 2, server)
        crashes.run(KILLS, SECONDS)
        crashes.check()
    finally:
        server.close()
    assert sum(crashes.kills.values()) >= 2
