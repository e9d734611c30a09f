"""The notes of a driver in optuna-dashboard, read back through its own server."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace

import pytest
from optuna.samplers import RandomSampler
from PIL import Image

from tests.conftest import TINY
from tests.helpers.http_client import Client
from tests.stores import HERE, driving
from tests.synthetic import BASELINES, PROTOCOL, SPACE, config, pictures, record, synthetic, train
from weightsearch.config import load_study
from weightsearch.dashboards.report.notes import SECONDS, Notes, markdown, plain
from weightsearch.dashboards.report.section import Table
from weightsearch.dashboards.server.serve import make_dashboard
from weightsearch.search.driver import StudyRun
from weightsearch.search.ledger import Event
from weightsearch.study import tables
from weightsearch.study.store import StudyStore
from weightsearch.study.writer import Attempt

OBJECTIVES = {"abs_rel": "minimize"}
WEIGHTS = {"integer": 1.0, "fractional": 10.0, "consistency": 0.5}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/s.db"


@pytest.fixture
def client(url):
    """The dashboard over the study, started when it is first asked for."""
    servers = []

    def start() -> Client:
        server = make_dashboard(url, port=0)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Client(server.server_port)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def detail(client: Client) -> dict:
    return json.loads(client("/api/studies/1")[2])


def test_a_trial_has_its_note_and_pictures_as_soon_as_it_has_ended(url, client):
    with driving(url, "synthetic", config(OBJECTIVES)) as writer:
        writer.before_end = Notes(writer.store).before_end
        writer.enqueue_baseline("published", BASELINES["published"])
        number = writer.ask(RandomSampler(seed=0), SPACE).number
        train(writer, number, WEIGHTS)
        writer.complete(number, pictures=pictures(frames=3))
    ask = client()
    trial = detail(ask)["trials"][0]
    note = trial["note"]["body"]
    assert "Baseline **published**" in note
    assert "gradient ratio (at the shared parameters, epoch 6)" in note
    assert "| fractional | 10 | 0.02268 | 75.8 % | 1.92 |" in note  # .25 exp(-2.4); 10 / mean(1, 10, .5 * 9.2)
    assert "| consistency | 0.5 | 0.1089 | 18.2 % | 0.885 |" in note  # at the outputs it would be .13
    assert "abs\\_rel" not in note
    assert "abs_rel 0.1" in note
    (artifact,) = trial["artifacts"]
    assert artifact["filename"] == "depth-trial-0.png"
    status, headers, content = ask(f"/artifacts/1/{trial['trial_id']}/{artifact['artifact_id']}")
    assert (status, headers["content-type"]) == (200, "image/png")
    picture = Image.open(io.BytesIO(content))
    assert picture.size == (4 * 64 + 3 * 4, 14 + 3 * 48 + 2 * 4)  # four columns, three frames
    assert picture.getpixel((68 + 5, 14 + 5)) == pytest.approx((40, 100, 0), abs=3)  # the truth of the first


def test_a_trial_s_note_warns_of_terms_without_pixels(url, client):
    with driving(url, "synthetic", config(OBJECTIVES)) as writer:
        writer.before_end = Notes(writer.store).before_end
        number = writer.ask(RandomSampler(seed=0), SPACE).number
        attempt = Attempt("attempt", 0, PROTOCOL, HERE)
        one = record(WEIGHTS, 1, number)
        writer.record(
            number, attempt, replace(one, measurements={**one.measurements, "without_pixels": {"consistency": 20}})
        )
        writer.complete(number)
    note = detail(client())["trials"][0]["note"]["body"]
    assert "Warning: the loss term 'consistency' had no pixel to learn from at 20 of 20 steps" in note


def test_a_failed_trial_s_note_has_its_reason_and_a_pruned_one_has_none(url, client):
    synthetic(url, 2, states=["FAIL", "PRUNED"], baselines={}, annotate=Notes, reason="loss <b>nan</b> | 1*2")
    failed, pruned = detail(client())["trials"]
    assert failed["note"]["body"].strip() == "Failed: loss &lt;b&gt;nan&lt;/b&gt; | 1\\*2"
    assert pruned["note"]["body"] == ""
    assert pruned["artifacts"] == []


def test_the_study_has_a_summary_and_figures_and_they_are_replaced(url, client):
    synthetic(url, 12, states=["COMPLETE"], annotate=Notes)
    with driving(url, "synthetic", config(OBJECTIVES)) as writer:
        notes = Notes(writer.store)
        notes.study(writer, now=True)
        notes.study(writer, now=True)
    found = detail(client())
    body = found["note"]["body"]
    assert "14** trials ended" in body
    assert "| best: baseline equal |" in body
    names = [figure["id"] for figure in found["plotly_graph_objects"]]
    assert sorted(names) == sorted(set(names))
    assert set(names) == {
        "contributions-contributions",
        "gradients-heads",
        "gradients-shared",
        "conflicts-heads",
        "conflicts-shared",
        "importance-importance",
    }
    assert all(len(figure["graph_object"]) < 60_000 for figure in found["plotly_graph_objects"])


def test_the_study_s_note_is_written_now_and_then_while_it_runs(url):
    now = [0.0]
    synthetic(url, 3, states=["COMPLETE"], baselines={})
    with driving(url, "synthetic", config(OBJECTIVES, {})) as writer:
        notes = Notes(writer.store, clock=lambda: now[0])

        def version() -> int:
            return writer.store.storage.get_study_system_attrs(writer.store.study_id).get("dashboard:note_ver", 0)

        notes.study(writer)
        notes.study(writer)
        assert version() == 1
        now[0] = SECONDS + 1
        notes.study(writer)
        assert version() == 2


def test_an_act_that_fails_leaves_neither_note_nor_pictures(url):
    with driving(url, "synthetic", config(OBJECTIVES, {})) as writer:
        writer.before_end = Notes(writer.store).before_end
        number = writer.ask(RandomSampler(seed=0), SPACE).number
        train(writer, number, WEIGHTS)

        class Broken(Exception):
            pass

        def broken(*words):
            Notes(writer.store).before_end(*words)
            raise Broken

        writer.before_end = broken
        with pytest.raises(Broken):
            writer.complete(number, pictures=pictures())
        assert writer.store.pictures(number) == []
        attributes = writer.store.storage.get_study_system_attrs(writer.store.study_id)
        assert not any("note" in name for name in attributes)
        assert writer.store.state(number).name == "RUNNING"


def test_a_trial_ends_whatever_becomes_of_its_note(url, monkeypatch):
    monkeypatch.setattr(Notes, "_of_trial", lambda *_: 1 / 0)
    synthetic(url, 2, states=["COMPLETE"], annotate=Notes)
    store = StudyStore.open(url, "synthetic")
    assert [row.state.name for row in store.states()] == ["COMPLETE"] * 4
    store.close()


def test_a_fault_in_the_study_s_notes_ends_the_notes_and_not_the_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    told: list[Event] = []

    class Faulty(Notes):
        def study(self, writer, *, now=False):
            raise ZeroDivisionError("no such thing")

    running = StudyRun(load_study(tmp_path / "tiny.yaml"), told.append, annotate=Faulty)
    try:
        running._heard(Event("pruned", 0))
        running._heard(Event("pruned", 1))
    finally:
        running.close()
    (told_once,) = [one for one in told if one.kind == "note"]
    assert told_once.reason.startswith("ZeroDivisionError: no such thing")
    assert sum(one.kind == "pruned" for one in told) == 2


def test_constraints_of_a_trial_are_where_the_dashboard_reads_them(url, client):
    with driving(url, "synthetic", config(OBJECTIVES, {})) as writer:
        writer.before_end = Notes(writer.store).before_end
        frozen = writer.ask(RandomSampler(seed=0), SPACE)
        train(writer, frozen.number, WEIGHTS)
        for name, value in (("memory", 0.5), ("time", -1.0)):
            writer.store.storage.set_trial_system_attr(frozen._trial_id, f"constraints:{name}", value)
        writer.complete(frozen.number)
    assert sorted(detail(client())["trials"][0]["constraints"]) == [-1.0, 0.5]


def test_pictures_of_a_frame_itself_are_stored_once(url):
    synthetic(url, 5, states=["COMPLETE"], baselines={})
    store = StudyStore.open(url, "synthetic")
    with store.database.reading() as connection:
        rows = connection.execute(tables.pictures.select()).all()
    assert sum(row.number == tables.OF_ALL for row in rows) == 2 * 2  # image and truth of two frames
    assert len(rows) == 2 * 2 + 5 * 2 * 2
    assert [(one.frame, one.kind) for one in store.pictures(3)] == [
        (frame, kind) for frame in (0, 1) for kind in ("image", "truth", "depth", "error")
    ]
    assert store.pictures(99) == []
    store.close()


def test_trials_with_other_frames_have_their_own_image_and_truth(url):
    """As after a change of analysis.pictures in the middle of a study."""
    with driving(url, "synthetic", config(OBJECTIVES, {})) as writer:
        for count, chosen in enumerate(((0, 1), (1, 2))):
            number = writer.ask(RandomSampler(seed=count), SPACE).number
            train(writer, number, WEIGHTS)
            writer.complete(number, pictures=[one for one in pictures(3) if one.frame in chosen])
        for number, chosen in ((0, (0, 1)), (1, (1, 2))):
            found = [(one.frame, one.kind) for one in writer.store.pictures(number)]
            assert found == [(frame, kind) for frame in chosen for kind in ("image", "truth", "depth", "error")]


def test_an_unknown_artifact_is_not_found(url, client):
    synthetic(url, 1, states=["COMPLETE"], baselines={}, annotate=Notes)
    ask = client()
    assert ask("/artifacts/1/1/0123-1-0")[0] == 404
    assert ask("/artifacts/1/1/zz")[0] == 404


def test_text_for_markdown_stays_text():
    assert plain("<a> `b` *c* [d](e)\nf") == "&lt;a&gt; \\`b\\` \\*c\\* \\[d\\](e) f"
    assert plain("http://x www.y") == "http&#58;//x www&#46;y"
    assert markdown(Table(["a|b"], [["1"]])) == "| a\\|b |\n| --- |\n| 1 |"
