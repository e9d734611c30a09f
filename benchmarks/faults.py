"""Everything that may die, dying: the whole of what tests/faults runs a slice of.

    python benchmarks/faults.py schedules [--drivers 1|2] [--count 10000] [--first 0] [--jobs 2] [--output FILE]
    python benchmarks/faults.py crashes [--kills 100] [--seed 0] [--output FILE]

`schedules`: seeded schedules of the deterministic simulation; a schedule that fails prints its seed, which gives the
same schedule again (`--first SEED --count 1`). Even seeds have two drivers that share a cluster of one to three places,
odd seeds one driver with one worker; `--drivers` runs one of the two kinds only. `crashes`: real studies whose driver, workers, Ray processes and PostgreSQL are killed
with SIGKILL, half of the kills on SQLite and half on PostgreSQL, with one worker (the result must be that of the
undisturbed study) and with two.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.faults.crashes import Crashes, describe, whole_study
from tests.faults.simulation import Simulator
from tests.servers import Postgres

BLOCK = 50
MEMORY = Path("/dev/shm")  # a file system in memory, where there is one: nothing here is about disks


def block(seeds: range) -> tuple[Counter[str], list[str]]:
    """Faults by kind, and the failures."""
    faults: Counter[str] = Counter()
    failed: list[str] = []
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        simulator = Simulator(Path(folder))
        for seed in seeds:
            try:
                faults.update(what.split(" of ")[0] for what in simulator(seed).log)
            except AssertionError as problem:
                failed.append(str(problem))
        simulator.close()
    return faults, failed


def schedules(arguments: argparse.Namespace) -> dict[str, Any]:
    first, step = arguments.first, 1
    if arguments.drivers is not None:
        first, step = first + (first + arguments.drivers) % 2, 2
    seeds = range(first, first + step * arguments.count, step)
    blocks = [seeds[start : start + BLOCK] for start in range(0, len(seeds), BLOCK)]
    faults: Counter[str] = Counter()
    failed: list[str] = []
    started = time.monotonic()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for done, (more, problems) in zip(itertools.accumulate(map(len, blocks)), pool.map(block, blocks), strict=True):
            faults += more
            failed += problems
            for problem in problems:
                print(problem, flush=True)
            print(f"{done} schedules, {len(failed)} failed, {time.monotonic() - started:.0f} s", flush=True)
    return {
        "schedules": arguments.count,
        "drivers": arguments.drivers or "1 and 2",
        "first": seeds[0],
        "faults": dict(faults),
        "failed": failed,
    }


def crashes(arguments: argparse.Namespace) -> dict[str, Any]:
    kills: Counter[str] = Counter()
    studies = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        whole = whole_study(folder / "whole")
        server = Postgres(folder / "pg")
        try:
            number = 0
            while sum(kills.values()) < arguments.kills:
                kind, workers = ("sqlite", "postgresql")[number % 2], 1 if number % 4 < 2 else 2
                here = folder / f"study{number}"
                if kind == "sqlite":
                    one = Crashes(here, f"sqlite:///{here}/study.db", arguments.seed + number, workers)
                else:
                    server.create(here.name)
                    one = Crashes(here, server.url(here.name), arguments.seed + number, workers, server)
                one.run(25)
                one.check(whole if workers == 1 else None)
                kills += one.kills
                studies.append({"storage": kind, "workers": workers, **json.loads(describe(one))})
                print(json.dumps(studies[-1]), f"{sum(kills.values())} kills", flush=True)
                number += 1
        finally:
            server.close()
    return {"kills": dict(kills), "total": sum(kills.values()), "studies": studies}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["schedules", "crashes"])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--drivers", type=int, choices=[1, 2])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    started = time.monotonic()
    found = {"schedules": schedules, "crashes": crashes}[arguments.what](arguments)
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "seconds": round(time.monotonic() - started),
        **found,
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    if result.get("failed"):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
