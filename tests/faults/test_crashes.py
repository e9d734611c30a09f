"""A slice of what benchmarks/faults.py runs whole: real studies whose processes get SIGKILL at random moments."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.crashes import Crashes, exists, outcome, whole_study
from tests.servers import Postgres, server_folder

pytestmark = pytest.mark.slow

KILLS = 2  # of each study
SECONDS = 120.0  # until it is let alone


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outcome of the study that nothing disturbs."""
    return whole_study(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder():
    with server_folder() as made:
        yield made


@pytest.mark.timeout(600)
def test_on_sqlite_with_one_worker_it_is_the_same_study(tmp_path, whole):
    crashes = Crashes(tmp_path / "study", f"sqlite:///{tmp_path}/study/study.db", 11, 1)
    crashes.run(KILLS, SECONDS)
    crashes.check(whole)
    assert sum(crashes.kills.values()) >= 2


@pytest.mark.timeout(600)
def test_while_postgresql_is_away_the_worker_goes_on_and_no_report_is_lost(tmp_path, whole, folder):
    """Killed in mid-study and away for ten seconds, longer than some epochs take."""
    server = Postgres(folder)
    try:
        server.create("study")
        url = server.url("study")
        crashes = Crashes(tmp_path / "study", url, 0, 1, server)
        driver = crashes.start()
        while not (exists(url) and sum(len(curve) for *_, curve in outcome(url)) >= 3):
            assert driver.poll() is None, crashes.said()
            time.sleep(0.2)
        server.kill()
        before = newest(tmp_path)
        time.sleep(10)
        after = newest(tmp_path)
        server.start()
        assert driver.wait(240) == 0, crashes.said()
        crashes.check(whole)
    finally:
        server.close()
    assert after > before  # checkpoints were written meanwhile
    assert "the workers continue, their reports are kept until the database is back" in crashes.said()
    assert "the database is back" in crashes.said()


def newest(folder: Path) -> float:
    """When the last checkpoint was written."""
    return max((path.stat().st_mtime for path in folder.rglob("checkpoint.pt")), default=0.0)


@pytest.mark.timeout(600)
def test_on_postgresql_that_dies_too_every_trial_ends_once(tmp_path, folder):
    server = Postgres(folder)
    try:
        server.create("study")
        crashes = Crashes(tmp_path / "study", server.url("study"), 4, 2, server)
        crashes.run(KILLS, SECONDS)
        crashes.check()
    finally:
        server.close()
    assert sum(crashes.kills.values()) >= 2
