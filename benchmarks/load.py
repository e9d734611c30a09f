"""Many workers on one PostgreSQL: 2,000 do-nothing trials of 10 reports each from 32 concurrent Ray workers.

    python -m benchmarks.load [--trials 2000] [--reports 10] [--workers 32] [--sampler tpe] [--output FILE]

A real PostgreSQL (from pip), a real Ray with as many one-CPU slots as there are workers, the real driver. Prints the
reports a second over the whole search, and checks that every trial is COMPLETE with every report, in Optuna's tables and
in ours.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import warnings
from pathlib import Path

from weightsearch.search.connection import SETTINGS

os.environ.update(SETTINGS)

import ray
import sqlalchemy as sa

from benchmarks.overhead import STUDY, Ours
from tests.servers import Postgres
from weightsearch.config import load_study
from weightsearch.search.driver import StudyRun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--reports", type=int, default=10)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    ray.init(
        address="local", num_cpus=arguments.workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        server = Postgres(folder / "pg")
        try:
            server.create("load")
            url = server.url("load")
            path = folder / "study.yaml"
            path.write_text(STUDY.format(folder=folder, trials=arguments.trials, reports=arguments.reports))
            run = StudyRun(load_study(path, [f"storage={url}", f"search.sampler={arguments.sampler}"]))
            started = time.monotonic()
            run.search(Ours)
            seconds = time.monotonic() - started
            run.close()
            found = count(url)
        finally:
            server.close()
    reports = arguments.trials * arguments.reports
    wanted = {
        "COMPLETE": arguments.trials,
        "optuna": reports,
        "epochs": reports,
        "terms": 3 * reports,
        "whole": arguments.trials,
    }
    assert found == wanted, (found, wanted)
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "trials": arguments.trials,
        "reports": reports,
        "workers": arguments.workers,
        "sampler": arguments.sampler,
        "seconds": round(seconds, 1),
        "reports_per_second": round(reports / seconds, 1),
        "lost": 0,
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


def count(url: str) -> dict[str, int]:
    """Trials by state; rows of Optuna's curves, of our epochs and terms; trials with every epoch from 1 on."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = dict(connection.execute(sa.text("SELECT state, count(*) FROM trials GROUP BY state")).all())
        for name, table in (
            ("optuna", "trial_intermediate_values"),
            ("epochs", "weightsearch_epochs"),
            ("terms", "weightsearch_measurements WHERE \"group\" = 'weight'"),
        ):
            found[name] = connection.scalar(sa.text(f"SELECT count(*) FROM {table}"))
        found["whole"] = connection.scalar(
            sa.text(
                "SELECT count(*) FROM (SELECT trial_id FROM weightsearch_epochs GROUP BY trial_id "
                "HAVING min(epoch) = 1 AND max(epoch) = count(*)) AS whole"
            )
        )
    engine.dispose()
    return found


if __name__ == "__main__":
    main()
