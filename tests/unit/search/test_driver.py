from __future__ import annotations

from dataclasses import replace

import pytest

from tests.stores import ask, attempt, driving, record, report
from weightsearch.errors import StoreError
from weightsearch.search.driver import check_protocol

EIGEN = {"crop": "garg", "size": [375, 1242], "max_depth": 80.0}


def test_a_study_does_not_go_on_under_another_protocol(tmp_path):
    """Such as one that began when `kitti_eigen` brought all pictures to one size: its file is the same."""
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
