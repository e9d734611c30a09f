from __future__ import annotations

import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.stores import ask, attempt, driving, record, report
from weightsearch.config import load_study
from weightsearch.errors import DataError, StoreError
from weightsearch.search import driver
from weightsearch.search.driver import StudyRun, check_protocol
from weightsearch.search.ledger import Event
from weightsearch.study.lease import Lease

EIGEN = {"crop": "garg", "size": [375, 1242], "max_depth": 80.0}


@pytest.mark.parametrize(("scale", "told"), [(1000, None), (25000, 1), (5000, 0)])
def test_depth_in_another_unit_is_told_before_ray_starts(tiny, tmp_path, scale, told):
    """A room of 1.5 to 5 m, stored as TUM RGB-D stores it."""
    rng = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (32, 48, 3)).astype(np.uint8)).save(tmp_path / f"{number}.png")
        depth = np.linspace(1.5, 5, 48)[None].repeat(32, 0) + 0.01 * number
        Image.fromarray((5000 * depth).astype(np.uint16)).save(tmp_path / f"{number}.depth.png")
    lines = [f"{number}.png {number}.depth.png\n" for number in range(12)]
    (tmp_path / "train.txt").write_text("".join(lines[:9]))
    (tmp_path / "validation.txt").write_text("".join(lines[9:]))
    data = (
        f"data={{name: file_list, root: '{tmp_path}', train: train.txt, validation: validation.txt, size: [32, 48], "
        f"min_depth: 0.1, max_depth: 10.0, depth_scale: {scale}}}"
    )
    events: list[Event] = []
    running = StudyRun(load_study(tiny, [data]), events.append)
    try:
        if told is None:
            with pytest.raises(DataError, match="83% of the known depth is above .*set data.depth_scale: 5000"):
                running.check()
            return
        running.check()
        stored = running.summary().data_warnings
    finally:
        running.close()
    reasons = [event.reason for event in events if event.kind == "warning"]
    assert len(reasons) == told
    assert list(stored) == reasons
    assert all(
        "set data.depth_scale: 5000, or lower data.max_depth; if the unit is right, set analysis" in reason
        for reason in reasons
    )


def test_a_study_does_not_go_on_under_another_protocol(tmp_path):
    """A study that began when `kitti_eigen` brought all pictures to one size has the same file today."""
    with driving(f"sqlite:///{tmp_path}/study.db") as writer:
        check_protocol(writer.store, EIGEN)  # no trial yet
        ask(writer)
        check_protocol(writer.store, EIGEN)  # none that reported
        report(writer, 0, replace(attempt(), protocol=EIGEN), record(1))
        check_protocol(writer.store, {**EIGEN, "truth": "laser"})  # what was not noted then cannot differ
        with pytest.raises(
            StoreError, match=r"trials of the study 's' in .* measured under another protocol, .*: size: .*native"
        ):
            check_protocol(writer.store, {**EIGEN, "size": "native"})


def test_a_database_that_does_not_answer_is_a_warning(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(driver, "SILENT_SECONDS", 3.0)
    back = threading.Event()
    monkeypatch.setattr(Lease, "renew", lambda _: back.wait())
    heard: list[Event] = []
    run = StudyRun(load_study(tiny), heard.append)
    try:
        for _ in range(30):
            run.lease.answers += 1
            time.sleep(0.2)
        assert heard == []
        end = time.monotonic() + 60
        while not heard and time.monotonic() < end:
            time.sleep(0.1)
        (event,) = heard
    finally:
        back.set()
        run.close()
    assert event.kind == "warning"
    assert re.fullmatch(
        r"sqlite:///\S*tiny.db has not answered for \d+ s; reports wait here until it does", event.reason
    )
