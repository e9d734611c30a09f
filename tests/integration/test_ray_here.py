"""A study on this machine: its open ports, the files it leaves, and signals before it trains."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.conftest import TINY
from tests.integration.commands import WEIGHTSEARCH, wait_for_epochs
from tests.processes import listens_at

pytestmark = pytest.mark.slow

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.mark.parametrize("home", ["missing", "there"])
def test_a_study_here_is_open_to_nobody_and_writes_nothing_into_the_home(tmp_path, home):
    """Also where the home is missing or cannot be written, as in many batch jobs."""
    (tmp_path / "tiny.yaml").write_text(TINY.replace("epochs: 4", "epochs: 20").replace("trials: 6", "trials: 3"))
    homes = {"missing": "/proc/nowhere", "there": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    hidden = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with (tmp_path / "said.txt").open("w") as said:
        driver = subprocess.Popen(
            [*WEIGHTSEARCH, "run", "tiny.yaml"],
            cwd=tmp_path,
            env=hidden | {"HOME": homes[home]},
            stdout=said,
            stderr=said,
        )
    try:
        wait_for_epochs(tmp_path / "tiny.db", 2, 200)
        found = listens_at(driver.pid)
        driver.send_signal(signal.SIGTERM)
        driver.wait(timeout=60)
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == 143, (tmp_path / "said.txt").read_text()  # 128 + SIGTERM
    assert found
    assert found <= LOOPBACK
    assert not (tmp_path / "home" / ".ray").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_search_says_what_ctrl_c_says(tmp_path, number):
    (tmp_path / "tiny.yaml").write_text(TINY)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*WEIGHTSEARCH, "run", "tiny.yaml"], cwd=tmp_path, **pipes) as driver:
        try:
            while "starting the workers" not in driver.stdout.readline():
                assert driver.poll() is None
            driver.send_signal(number)
            _, complaints = driver.communicate(timeout=120)
        finally:
            driver.kill()
    assert driver.returncode == 128 + number
    assert complaints.strip().splitlines()[-1].startswith("stopped")
    assert "Traceback" not in complaints
