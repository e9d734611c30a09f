"""Studies with reports, and a parser of their pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

from weightsearch.dashboards.report.data import ReportData, read_report_data
from weightsearch.dashboards.report.page import SECTIONS
from weightsearch.study.store import StudyStore

OF_REBALANCING = ["rebalancing", "detection", "rebalancing_theory"]


OF_DUAL_HEAD = [name for name in SECTIONS if name not in (*OF_REBALANCING, "pareto")]  # with one objective


NOW = datetime(2026, 1, 2, tzinfo=UTC)


HOSTILE = "</script><img src=x onerror=alert(1)>"


def findings(url: str, name: str = "synthetic") -> ReportData:
    store = StudyStore.open(url, name)
    try:
        return read_report_data(store)
    finally:
        store.close()


class Page(HTMLParser):
    """The ids, the links to anything outside, and the elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.outside: list[str] = []
        self.tags: list[str] = []
        self.feed(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.tags.append(tag)
        self.ids += [named["id"]] if "id" in named else []
        for name in ("src", "href"):
            if not (named.get(name) or "#").startswith(("#", "data:")):
                self.outside.append(named[name])
