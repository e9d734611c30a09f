"""The real command, and what it left in a study's database."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

WEIGHTSEARCH = [sys.executable, "-m", "weightsearch"]
ALONE = ["--set", "resources.max_concurrent=1"]  # one trial after the other: what they suggest does not depend on time


def command(*words: str | Path, cwd: Path, expect: int = 0, timeout: int = 240) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*WEIGHTSEARCH, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == expect, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def shown(folder: Path, name: str = "tiny.yaml") -> dict:
    return json.loads(command("show", name, "--json", cwd=folder).stdout)


def wait_for_epochs(database: Path, count: int, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if sum(map(len, curves(database).values())) >= count:
                return
        except sqlite3.OperationalError:
            pass
        time.sleep(0.05)
    pytest.fail(f"no {count} epochs within {seconds} s")


def epochs_of(database: Path) -> list[list[int]]:
    """The epochs that each trial has reported, in order."""
    return [[epoch for epoch, _ in curve] for curve in curves(database).values()]


def curves(database: Path) -> dict[int, list[tuple[int, float]]]:
    """Trial number -> (epoch, value) in order."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = connection.execute(
            "SELECT number, step, intermediate_value FROM trial_intermediate_values JOIN trials USING (trial_id) "
            "ORDER BY number, step"
        ).fetchall()
    finally:
        connection.close()
    found: dict[int, list[tuple[int, float]]] = {}
    for number, step, value in rows:
        found.setdefault(number, []).append((step, value))
    return found
