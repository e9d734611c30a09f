from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from weightsearch.search.trial_log import TrialLog, log_path, log_seen_from_driver, prepare_log

HERE = socket.gethostname()
ROOT = Path(__file__).parents[3]
PRINTS = """
import os, sys, warnings
from pathlib import Path
from weightsearch.search.trial_log import TrialLog
for number in (7, 8):
    log = TrialLog(Path(sys.argv[1]) / f"trial_{number:04d}.log", "abc", "driver")
    print("before", number)
    with log.captured():
        print("by Python", number)
        print("to stderr", number, file=sys.stderr)
        os.write(2, b"by C\\n")
        os.system("echo by a child")
        warnings.warn("a warning")
    print("after", number)
"""


def test_names():
    assert str(log_path(Path("/runs/tiny"), 7)) == "/runs/tiny/logs/trial_0007.log"


def test_everything_that_is_printed_goes_to_the_trial_s_own_log_and_nothing_else_does(tmp_path):
    """One process trains two trials after each other, as a reused worker does."""
    done = subprocess.run(
        [sys.executable, "-c", PRINTS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n") == ["before 7", "after 7", "before 8", "after 8", ""]
    assert done.stderr == ""
    for number in (7, 8):
        lines = (tmp_path / f"trial_{number:04d}.log").read_text().splitlines()
        assert lines[0] == f"weightsearch, study abc, log made on {HERE}"
        assert lines[1].startswith("=== attempt 1: ")
        assert lines[2:6] == [f"by Python {number}", f"to stderr {number}", "by C", "by a child"]


def test_a_retry_appends_under_its_own_header(tmp_path):
    path = log_path(tmp_path, 3)
    prepare_log(path, "abc")
    for _ in range(2):
        log = TrialLog(path, "abc", HERE)
        try:
            raise KeyError("zzz")
        except KeyError as error:
            log.fault(error)
    text = path.read_text()
    assert [line.split(":")[0] for line in text.splitlines() if line.startswith("===")] == [
        "=== attempt 1",
        "=== attempt 2",
    ]
    assert text.count("Traceback (most recent call last)") == text.count("KeyError: 'zzz'") == 2
    assert log.where == str(path)


def test_a_log_of_another_study_of_the_same_name_is_replaced(tmp_path):
    path = log_path(tmp_path, 0)
    prepare_log(path, "old")
    TrialLog(path, "old", HERE).note("of the old study")
    prepare_log(path, "new")
    assert path.read_text() == f"weightsearch, study new, log made on {HERE}\n"


def test_passwords_stay_out_of_tracebacks(tmp_path):
    log = TrialLog(tmp_path / "a.log", "abc", HERE)
    log.fault(RuntimeError("cannot reach postgresql://ann:s3cret@db/x"))
    assert "s3cret" not in (tmp_path / "a.log").read_text()
    assert "postgresql://ann:***@db/x" in (tmp_path / "a.log").read_text()


def test_without_a_shared_folder_a_log_is_named_with_its_host(tmp_path):
    """A worker that finds no log of its driver's made one of its own; a driver that finds no attempt in its own log
    looks for it where the worker ran."""
    path = log_path(tmp_path, 1)
    worker = TrialLog(path, "abc", "another-host")
    assert worker.where == f"{HERE}:{path}"
    driver = tmp_path / "driver.log"
    prepare_log(driver, "abc")
    assert log_seen_from_driver(driver, "node-2") == f"node-2:{driver}"
    assert log_seen_from_driver(driver, None) == str(driver)
    assert log_seen_from_driver(path, "node-2") == str(path)


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "logs").write_text("a file in the folder's place")
    log = TrialLog(log_path(tmp_path, 1), "abc", HERE)
    with log.captured():
        found = 1 + 1
    log.note("nowhere")
    assert found == 2
    assert log.where == str(tmp_path / "logs" / "trial_0001.log")
