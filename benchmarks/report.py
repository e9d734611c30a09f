"""The time that a report takes, its size, and a check that a browser opens it.

    python -m benchmarks.report --study dualhead_7scenes.db:dualhead_7scenes --output benchmarks/results/report.json

Without --study a synthetic one of --trials trials is made first. Each time is that of the whole command, imports included;
the browser's is until every figure is drawn.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from tests.browser import Heard, browser, drawn
from tests.synthetic import synthetic


def measure(database: Path, name: str, rounds: int, folder: Path) -> dict[str, Any]:
    study = folder / "study.yaml"
    study.write_text(f"name: {name}\nstorage: sqlite:///{database.absolute()}\n")
    page = folder / "report.html"
    seconds: list[float] = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "weightsearch", "report", str(study), "-o", str(page)], check=True)
        seconds.append(time.perf_counter() - started)
    with browser() as opened:
        tab = opened.new_page(viewport={"width": 1280, "height": 900})
        heard = Heard(tab)
        started = time.perf_counter()
        tab.goto(page.as_uri())
        drawn(tab)
        shown = time.perf_counter() - started
        sections = len(tab.query_selector_all("section"))
    return {
        "study": name,
        "megabytes": page.stat().st_size / 1e6,
        "seconds": statistics.median(seconds),
        "all_seconds": seconds,
        "browser_seconds": shown,
        "sections": sections,
        "console_errors": heard.errors,
        "requests_but_the_page": len(heard.requests) - 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--study", action="append", default=[], metavar="DATABASE:NAME")
    parser.add_argument("--trials", type=int, default=5000, help="of the synthetic study; 0 for none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    words = parser.parse_args()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for study in words.study:
            database, _, name = study.rpartition(":")
            found.append(measure(Path(database), name, words.rounds, folder))
        if words.trials:
            synthetic(f"sqlite:///{folder}/synthetic.db", words.trials)
            found.append(measure(folder / "synthetic.db", "synthetic", words.rounds, folder))
            found[-1]["trials"] = words.trials + 2
    result = {"date": date.today().isoformat(), "machine": platform.machine(), "reports": found}
    print(json.dumps(result, indent=2))
    if words.output is not None:
        words.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
