from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stores import ask, attempt, driving, record, report
from weightsearch.dashboards.serve import make_dashboard
from weightsearch.errors import StoreError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path}/s.db"
    with driving(url) as writer:
        number = ask(writer)
        report(writer, number, attempt(), record(1), record(2))
        writer.complete(number)
    made = make_dashboard(url, port=0)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()
    thread.join()


def get(url: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.status, answer.read()


def test_it_shows_the_study_and_its_curves(server):
    assert get(server + "/")[0] == 200
    studies = json.loads(get(server + "/api/studies")[1])["study_summaries"]
    assert [study["study_name"] for study in studies] == ["s"]
    detail = json.loads(get(f"{server}/api/studies/{studies[0]['study_id']}?after=0")[1])
    (trial,) = detail["trials"]
    assert trial["state"] == "Complete"
    assert [(point["step"], point["value"]) for point in trial["intermediate_values"]] == [(1, 0.5), (2, 0.25)]
    assert detail["objective_names"] == ["abs_rel"]


@pytest.mark.parametrize("method", ["DELETE", "POST", "PUT", "PATCH"])
@pytest.mark.parametrize("path", ["/api/studies/1", "/api/studies", "/api/studies/1/note"])
def test_nothing_can_be_changed(server, method, path):
    request = urllib.request.Request(server + path, method=method, data=b"{}")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=20)
    assert error.value.code == 403
    error.value.close()
    assert len(json.loads(get(server + "/api/studies")[1])["study_summaries"]) == 1


def test_a_port_that_is_taken_is_one_line(server, tmp_path):
    port = int(server.rpartition(":")[2])
    with pytest.raises(StoreError, match=f"cannot serve on port {port}"):
        make_dashboard(f"sqlite:///{tmp_path}/s.db", port=port)
