"""Pages as a browser shows them: the report, and the findings in optuna-dashboard."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.browser import Heard, browser, drawn
from tests.conftest import TINY
from tests.helpers.reports import HOSTILE, OF_DUAL_HEAD, findings
from tests.integration.commands import ALONE, command
from tests.synthetic import BASELINES, synthetic
from weightsearch.dashboards.report.notes import Notes
from weightsearch.dashboards.report.page import SECTIONS
from weightsearch.dashboards.server.serve import make_dashboard
from weightsearch.study.lease import Lease
from weightsearch.study.store import StudyStore
from weightsearch.study.writer import Writer

# Of every figure: whether it is drawn, how wide it is, and how wide the window is.
DRAWN = """() => Array.from(document.querySelectorAll('[data-figure]')).map(place => ({
    name: place.dataset.figure, drawn: place.querySelectorAll('svg.main-svg').length > 0,
    right: place.getBoundingClientRect().right, text: getComputedStyle(place.querySelector('g[class$=tick] text')).fill}))"""


@pytest.fixture(scope="module")
def opened():
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that really ran, probed often, with its report."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "tiny.yaml").write_text(TINY.replace("name: tiny", "name: tiny\nanalysis: {budget: 0.5}"))
    command("run", "tiny.yaml", *ALONE, cwd=folder)
    assert "written: report.html" in command("report", "tiny.yaml", "-o", "report.html", cwd=folder).stdout
    return folder


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_a_report_opens_offline_on_any_screen(opened, ran, width, scheme):
    page = opened.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    heard = Heard(page)
    page.goto((ran / "report.html").as_uri())
    drawn(page)
    assert heard.errors == []
    assert heard.requests == [(ran / "report.html").as_uri()]
    assert [section.get_attribute("id") for section in page.query_selector_all("section")] == OF_DUAL_HEAD
    figures = page.evaluate(DRAWN)
    assert {one["name"] for one in figures} >= {
        "history-abs_rel",
        "curves-curves",
        "slices-slices",
        "contributions-contributions",
        "gradients-heads",
        "gradients-shared",
        "conflicts-heads",
        "conflicts-shared",
    }
    assert all(one["drawn"] and one["right"] <= width for one in figures)
    assert {one["text"] for one in figures} == {"rgb(230, 232, 235)" if scheme == "dark" else "rgb(26, 29, 33)"}
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # tables scroll by themselves
    assert (
        page.evaluate("Array.from(document.images).every(one => one.naturalWidth > 0) && document.images.length") >= 8
    )
    page.close()


def test_a_hostile_study_runs_no_script(opened, tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    synthetic(url, 4, states=["COMPLETE", "FAIL"], baselines={HOSTILE: BASELINES["published"]}, reason=HOSTILE)
    (tmp_path / "s.yaml").write_text(f"name: synthetic\nstorage: {url}\n")
    command("report", "s.yaml", "-o", "report.html", cwd=tmp_path)
    page = opened.new_page()
    heard = Heard(page)
    page.goto((tmp_path / "report.html").as_uri())
    drawn(page)
    assert heard.errors == []
    assert page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
    assert HOSTILE in page.inner_text("#summary")
    page.close()


def test_figures_are_written_for_papers(ran):
    for form, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        command("report", "tiny.yaml", "--format", form, "--select", "contributions", "-o", f"c.{form}", cwd=ran)
        assert (ran / f"c.{form}").read_bytes().startswith(start)


def test_optuna_dashboard_shows_note_figures_and_pictures(opened, tmp_path):
    """As a driver leaves them: notes and pictures of trials in the transaction that ended them."""
    url = f"sqlite:///{tmp_path}/s.db"
    synthetic(url, 30, annotate=Notes)
    store = StudyStore.open(url, "synthetic", mode="write")
    lease = Lease.take(store)
    Notes(store).study(Writer(store, lease), now=True)
    lease.release()
    store.close()
    best = findings(url).best.number
    server = make_dashboard(url, port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        here = f"http://127.0.0.1:{server.server_port}/dashboard/studies/1"
        page = opened.new_page(viewport={"width": 1400, "height": 1200})
        heard = Heard(page)
        page.goto(f"{here}/note")
        page.get_by_text("The best so far is", exact=False).wait_for()
        page.goto(here)
        for title in (
            "Contributions",
            "Gradient ratios: at the heads",
            "Gradient ratios: at the shared parameters",
            "Conflicts: at the shared parameters",
            "What matters",
        ):
            page.get_by_text(title, exact=True).first.wait_for()
        page.goto(f"{here}/trials?numbers={best}")
        page.get_by_text("gradient ratio (at the shared parameters, epoch").wait_for()
        picture = page.locator("img[src*='/artifacts/']").first
        picture.wait_for()
        page.wait_for_function("document.querySelector(\"img[src*='/artifacts/']\").naturalWidth > 200")
        assert heard.errors == []
        page.close()
    finally:
        server.shutdown()
        server.server_close()


def test_a_part_can_be_chosen_alone(ran):
    command("report", "tiny.yaml", "--select", "cost", "--select", "protocol", "-o", "two.html", cwd=ran)
    text = (ran / "two.html").read_text()
    assert [name for name in SECTIONS if f'<section id="{name}">' in text] == ["protocol", "cost"]
    assert len(text) < 20_000  # without figures there is no library of them
    refused = command("report", "tiny.yaml", "--select", "costs", cwd=ran, expect=2)
    assert "unknown section 'costs'" in refused.stderr
