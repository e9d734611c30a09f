from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from weightsearch.search.trial_log import MARK, TrialLog, log_path, pointer, prepare_log

ROOT = Path(__file__).parents[3]
PRINTS = """
import os, sys, warnings
from pathlib import Path
from weightsearch.search.trial_log import TrialLog, prepare_log
for number in (7, 8):
    path = Path(sys.argv[1]) / f"trial_{number:04d}.log"
    prepare_log(path, "abc")
    log = TrialLog(path)
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
        assert lines[0] == "weightsearch, study abc"
        assert lines[1].startswith("=== attempt 1: ")
        assert f", {socket.gethostname()}, process " in lines[1]
        assert lines[2:6] == [f"by Python {number}", f"to stderr {number}", "by C", "by a child"]


def test_a_retry_appends_under_its_own_header(tmp_path):
    path = log_path(tmp_path, 3)
    prepare_log(path, "abc")
    for _ in range(2):
        log = TrialLog(path)
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
    assert pointer(path) == f"; log: {path}"


def test_a_log_of_another_study_of_the_same_name_is_replaced(tmp_path):
    path = log_path(tmp_path, 0)
    prepare_log(path, "old")
    TrialLog(path).note("of the old study")
    prepare_log(path, "new")
    assert path.read_text() == "weightsearch, study new\n"


def test_passwords_stay_out_of_tracebacks(tmp_path):
    log = TrialLog(tmp_path / "a.log")
    log.fault(RuntimeError("cannot reach postgresql://ann:s3cret@db/x"))
    assert "s3cret" not in (tmp_path / "a.log").read_text()
    assert "postgresql://ann:***@db/x" in (tmp_path / "a.log").read_text()


def test_a_log_that_another_driver_made_is_kept_and_named_by_its_path(tmp_path):
    """Also where the study goes on from another host: the run folder is shared. A log of an older version names the
    host that made it in its first line."""
    path = log_path(tmp_path, 1)
    path.parent.mkdir()
    path.write_text(f"weightsearch, study abc, log made on another-host\n{MARK}1: then\n")
    prepare_log(path, "abc")
    TrialLog(path)
    assert path.read_text().count(MARK) == 2
    assert pointer(path) == f"; log: {path}"


def test_a_worker_that_never_ran_has_no_log(tmp_path):
    """No message points to a log that holds only its first line."""
    path = log_path(tmp_path, 1)
    assert pointer(path) == ""
    prepare_log(path, "abc")
    assert pointer(path) == ""


def test_a_worker_makes_no_folder_where_the_run_folder_is_not_shared(tmp_path):
    log = TrialLog(log_path(tmp_path / "runs", 1))
    with log.captured():
        log.note("nowhere")
    assert list(tmp_path.iterdir()) == []
