"""Draw the pictures of README and documentation from a study that ran: `python docs/make_pictures.py STUDY.yaml`.

report.png: the first page of the report, and its loss terms. terminal.png: the terminal's last screen. Drawn by Chromium.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from rich.console import Console

import weightsearch as ws
from weightsearch import console
from weightsearch.study.store import StudyStore
from weightsearch.study.summary import summarise

FOLDER = Path(__file__).parent / "pictures"
COLOURS = 128
BROWSERS = ("/usr/bin/chromium", "/usr/bin/google-chrome")


def main(study: Path) -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as player:
        browser = player.chromium.launch(executable_path=next(one for one in BROWSERS if Path(one).exists()))
        report = Path(folder, "report.html")
        with ws.open_study(study) as opened:
            opened.report(report)
            store = opened._store
            screen = Path(folder, "terminal.svg")
            screen.write_text(terminal(store, study))
        page = browser.new_page(viewport={"width": 1100, "height": 1120})
        page.goto(report.as_uri())
        page.wait_for_selector(".js-plotly-plot")
        shoot(page, FOLDER / "report.png")
        part = page.query_selector("#contributions")
        assert part is not None
        save(part.screenshot(), FOLDER / "loss-terms.png")
        page = browser.new_page(viewport={"width": 1000, "height": 560})
        page.set_content(f"<body style='margin:0'>{screen.read_text()}</body>")
        element = page.query_selector("svg")
        assert element is not None
        save(element.screenshot(), FOLDER / "terminal.png")
        browser.close()
    total = sum(path.stat().st_size for path in FOLDER.glob("*.png"))
    print(f"{total / 1000:.0f} kB in {FOLDER}")


def terminal(store: StudyStore, study: Path) -> str:
    """The output of `weightsearch show`, as SVG."""
    recorder = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
    recorder.print(f"$ weightsearch show {study.name}", style="bold")
    before = console.results.out
    console.results.out = recorder
    try:
        console.print_result(summarise(store), None)
    finally:
        console.results.out = before
    return recorder.export_svg(title="weightsearch")


def shoot(page: Page, path: Path) -> None:
    save(page.screenshot(), path)


def save(content: bytes, path: Path) -> None:
    """A small PNG: of few colours."""
    Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
