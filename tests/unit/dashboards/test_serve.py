"""The real server over a real database, asked as a browser, a script and an attacker would."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, upload_artifact

from tests.helpers.http_client import Client
from tests.stores import ask, attempt, driving, record, report
from weightsearch.dashboards.server.access import AccessControl
from weightsearch.dashboards.server.serve import make_dashboard
from weightsearch.errors import StoreError, WeightsearchError
from weightsearch.study.database import Database

TOKEN = "a-token-that-is-long-enough"
WRITES = [
    ("DELETE", "/api/studies/1"),
    ("POST", "/api/studies"),
    ("POST", "/api/studies/1/rename"),
    ("PUT", "/api/studies/1/note"),
    ("PUT", "/api/studies/1/1/note"),
    ("POST", "/api/trials/1/tell"),
    ("POST", "/api/trials/1/user-attrs"),
    ("POST", "/api/artifacts/1/1"),
    ("POST", "/api/artifacts/1"),
    ("DELETE", "/api/artifacts/1/1/abc"),
    ("PATCH", "/api/studies/1"),
    ("OPTIONS", "/api/studies/1"),
    ("post", "/api/studies"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("made")
    with driving(f"sqlite:///{tmp_path}/s.db") as writer:
        number = ask(writer)
        report(writer, number, attempt(), record(1), record(2))
        (tmp_path / "page.html").write_text("<script>alert(1)</script>")
        (tmp_path / "artifacts").mkdir()
        store = FileSystemArtifactStore(tmp_path / "artifacts")
        trial = writer.store.trial(number)
        name = upload_artifact(
            artifact_store=store,
            file_path=str(tmp_path / "page.html"),
            study_or_trial=trial,
            storage=writer.store.database.storage,
            mimetype="text/html",
        )
        (tmp_path / "artifact").write_text(f"/artifacts/{writer.store.study_id}/{trial._trial_id}/{name}")
        writer.complete(number)
    return tmp_path


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A database with one study, whose trial has a page for an artifact."""
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Client]]:
    running = []

    def start(**options) -> Client:
        server = make_dashboard(f"sqlite:///{folder}/s.db", port=0, artifacts=folder / "artifacts", **options)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        running.append((server, thread))
        return Client(server.server_port)

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


def test_it_shows_the_study_and_its_curves(serve):
    client = serve()
    assert client("/dashboard")[0] == 200
    (study,) = json.loads(client("/api/studies")[2])["study_summaries"]
    detail = json.loads(client(f"/api/studies/{study['study_id']}?after=0")[2])
    (trial,) = detail["trials"]
    assert trial["state"] == "Complete"
    assert [(point["step"], point["value"]) for point in trial["intermediate_values"]] == [(1, 0.5), (2, 0.25)]
    assert detail["objective_names"] == ["abs_rel"]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_nothing_can_be_changed(serve, method, path):
    client = serve()
    status, _, body = client(path, method, "{}", Content_Type="application/json")
    assert status == 403
    assert b"read-only" in body
    assert client.studies() == ["s"]


def test_the_database_itself_is_opened_read_only(folder):
    """A second wall: were there a route that writes on GET, it could not."""
    database = Database(f"sqlite:///{folder}/s.db", mode="read")
    with pytest.raises(StoreError, match="readonly"), database.errors():
        optuna.delete_study(study_name="s", storage=database.storage)
    database.close()


def test_with_write_changes_are_let_through(serve):
    client = serve(write=True)
    body = '{"study_name": "t", "directions": ["minimize"]}'
    status, *_ = client("/api/studies", "POST", body, Content_Type="application/json")
    assert status == 201
    assert set(client.studies()) == {"s", "t"}


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "192.168.1.7", "localhost.evil.example", "", "127.0.0.1.nip.io", "[::2]"],
)
def test_a_name_that_leads_here_by_a_trick_is_refused(serve, host, write):
    client = serve(write=write)
    assert client("/api/studies", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:8080", "[::1]:80"])
def test_this_machines_names_are_known_whatever_the_port_of_the_tunnel(serve, host):
    assert serve()("/api/studies", Host=host)[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1.evil.example", "file://"]
)
@pytest.mark.parametrize(("method", "path"), [("DELETE", "/api/studies/1"), ("GET", "/api/studies")])
def test_another_sites_requests_are_refused(serve, origin, method, path):
    client = serve(write=True)
    assert client(path, method, Origin=origin)[0] == 403
    assert client.studies() == ["s"]


def test_its_own_requests_pass(serve):
    client = serve(write=True)
    own = f"http://127.0.0.1:{client.port}"
    assert client("/api/studies/1", "DELETE", Origin=own)[0] == 204
    assert client.studies() == []


def test_artifacts_are_files_to_save_not_pages(serve, folder):
    status, headers, body = serve()((folder / "artifact").read_text())
    assert (status, body) == (200, b"<script>alert(1)</script>")
    assert headers["content-disposition"] == "attachment"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", ["/", "/dashboard", "/api/studies", "/nothing", "/static/bundle.js"])
def test_no_answer_may_be_framed_or_read_by_another_site(serve, path):
    _, headers, _ = serve()(path)
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


class TestToken:
    def test_it_must_be_there_off_this_machine(self, folder):
        for host in ("0.0.0.0", "::", "192.0.2.1", "gpu-box"):
            with pytest.raises(WeightsearchError, match="needs a token"):
                make_dashboard(f"sqlite:///{folder}/s.db", port=0, host=host)

    def test_a_short_one_is_refused(self, folder):
        with pytest.raises(WeightsearchError, match="at least 16 characters"):
            make_dashboard(f"sqlite:///{folder}/s.db", port=0, host="0.0.0.0", token="secret")

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": TOKEN},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": "Bearer "},
            {"Cookie": "weightsearch_PORT=wrong"},
            {"Cookie": "other=" + TOKEN},
            {"Cookie": '=;"'},
        ],
    )
    @pytest.mark.parametrize(
        "path", ["/", "/dashboard", "/api/studies", "/static/bundle.js", "/?token=wrong", "/x?token="]
    )
    def test_without_it_nothing_is_shown(self, serve, headers, path):
        client = serve(host="0.0.0.0", token=TOKEN, write=True)
        headers = {name: value.replace("PORT", str(client.port)) for name, value in headers.items()}
        status, answer, body = client(path, **headers)
        assert status == 401
        assert answer["www-authenticate"].startswith("Bearer")
        assert "set-cookie" not in answer
        assert TOKEN.encode() not in body
        assert client("/api/studies/1", "DELETE", **headers)[0] == 401
        assert client.studies(Authorization=f"Bearer {TOKEN}") == ["s"]

    def test_as_a_bearer(self, serve):
        client = serve(host="0.0.0.0", token=TOKEN)
        assert client("/api/studies", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert client("/api/studies", "POST", Authorization=f"Bearer {TOKEN}")[0] == 403  # still read-only

    def test_the_printed_address_gives_a_cookie_and_is_gone_from_the_browsers_bar(self, serve):
        client = serve(host="0.0.0.0", token=TOKEN)
        status, headers, _ = client(f"/dashboard?a=1&token={TOKEN}")
        assert status == 303
        assert headers["location"] == "/dashboard?a=1"
        cookie, *attributes = headers["set-cookie"].split("; ")
        assert cookie == f"weightsearch_{client.port}={TOKEN}"
        assert {"HttpOnly", "SameSite=Lax"} <= set(attributes)
        assert client("/api/studies", Cookie=cookie)[0] == 200

    def test_other_programs_cookies_do_not_hide_it(self, serve):
        client = serve(host="0.0.0.0", token=TOKEN)
        for other in ('prefs={"a": 1}', "flag", "a=b c", "a,b=1", "expires=1", "x=\xe4"):
            assert client("/api/studies", Cookie=f"{other}; weightsearch_{client.port}={TOKEN}")[0] == 200

    def test_a_token_as_openssl_makes_it(self, serve):
        token = "abc+def/0123456789=="
        client = serve(host="0.0.0.0", token=token)
        _, headers, _ = client(f"/?token={quote(token, safe='')}")
        assert client("/api/studies", Cookie=headers["set-cookie"].split(";")[0])[0] == 200
        assert client("/api/studies", Authorization=f"Bearer {token}")[0] == 200

    def test_a_proxys_name_means_that_others_reach_it(self, folder):
        with pytest.raises(WeightsearchError, match=r"others can reach \(127.0.0.1, dash.example\) needs a token"):
            make_dashboard(f"sqlite:///{folder}/s.db", port=0, allow_hosts=["dash.example"])

    @pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "/%5cevil.example"])
    def test_the_way_in_leads_nowhere_else(self, serve, path):
        client = serve(host="0.0.0.0", token=TOKEN)
        _, headers, _ = client(f"{path}?token={TOKEN}")
        place = headers["location"]
        assert place.startswith("/")
        assert place[1:2] not in ("/", "\\")

    def test_addresses_in_numbers_and_named_hosts_are_known(self, serve):
        client = serve(host="0.0.0.0", token=TOKEN, allow_hosts=["Dash.example"])
        bearer = f"Bearer {TOKEN}"
        assert client("/api/studies", Host="192.0.2.1:80", Authorization=bearer)[0] == 200
        assert client("/api/studies", Host="dash.example", Authorization=bearer)[0] == 200
        assert client("/api/studies", Host="evil.example", Authorization=bearer)[0] == 403

    def test_it_is_in_no_repr(self):
        assert TOKEN not in repr(AccessControl(lambda *_: [], token=TOKEN))


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/api/studies", {"Origin": "http://["}, 403),
        ("/favicon.ico", {"Accept_Encoding": ""}, 200),
        ("/artifacts/9/abc", {}, 500),
        ("/csv/99999999999999999999999", {}, 500),
    ],
)
def test_odd_requests_leave_no_traceback(serve, capfd, path, headers, status):
    assert serve()(path, **headers)[0] == status
    assert "Traceback" not in capfd.readouterr().err


def test_a_port_that_is_taken_is_one_line(serve, folder):
    port = serve().port
    with pytest.raises(StoreError, match=f"cannot serve on 127.0.0.1, port {port}"):
        make_dashboard(f"sqlite:///{folder}/s.db", port=port)
