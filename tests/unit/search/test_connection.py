"""The environment in which Ray is started or joined."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from tests.helpers.clusters import cluster
from tests.helpers.clusters import head as head_script
from weightsearch.config import load_study
from weightsearch.errors import NotShared, SearchError
from weightsearch.search import connection, host
from weightsearch.search.cluster import Cluster
from weightsearch.search.connection import MODE, TOKEN, TOKEN_FILE, advice, on_a_cluster, on_this_machine
from weightsearch.search.scheduler import _why

ADDRESS = "RAY_ADDRESS"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in (MODE, TOKEN, TOKEN_FILE, ADDRESS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_ray_of_this_machine_has_a_token_that_only_its_owner_can_read(monkeypatch):
    monkeypatch.setenv(TOKEN, "of a cluster")
    with on_this_machine():
        file = Path(os.environ[TOKEN_FILE])
        assert os.environ[MODE] == "token"
        assert TOKEN not in os.environ
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        assert len(file.read_text()) == 64
    assert not file.exists()
    assert os.environ[TOKEN] == "of a cluster"
    assert MODE not in os.environ


@pytest.fixture(scope="module", params=["asks for a token", "asks for none"])
def head(request):
    """The address of a Ray cluster, and whether it asks for a token."""
    asks = request.param == "asks for a token"
    environment = {name: value for name, value in os.environ.items() if name not in (MODE, TOKEN, TOKEN_FILE)}
    environment |= {MODE: "token", TOKEN: 64 * "a"} if asks else {MODE: "disabled"}
    with cluster(head_script(1), environment) as (address, _):
        yield address, asks


@pytest.mark.parametrize("where", ["home", "file", "variable"])
def test_a_cluster_that_asks_for_a_token_gets_the_one_that_there_is(home, monkeypatch, head, where):
    """A cluster that asks for none must not be joined with a token: the driver would refuse its calls."""
    address, asks = head
    if where == "home":
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text(64 * "a")
    elif where == "file":
        (home / "token").write_text(64 * "a")
        monkeypatch.setenv(TOKEN_FILE, str(home / "token"))
    else:
        monkeypatch.setenv(TOKEN, 64 * "a")
    with on_a_cluster(address):
        assert os.environ.get(MODE) == ("token" if asks else None)
    assert MODE not in os.environ


@pytest.mark.parametrize("head", ["asks for a token"], indirect=True)
@pytest.mark.parametrize(
    ("token", "says"),
    [
        (None, "the cluster asks for a token; name the file of the cluster's token with RAY_AUTH_TOKEN_PATH=FILE"),
        (64 * "b", "the cluster refuses the token that this machine has; name the file"),
    ],
)
def test_a_token_that_is_missing_or_wrong_is_told_before_ray_starts(monkeypatch, head, token, says):
    if token is not None:
        monkeypatch.setenv(TOKEN, token)
    with pytest.raises(SearchError, match=says), on_a_cluster(head[0]):
        pass
    assert MODE not in os.environ


JOIN = """
import sys
from pathlib import Path
from weightsearch.errors import SearchError
from weightsearch.search.cluster import Cluster
from weightsearch.config import load_study
try:
    cluster = Cluster(load_study(Path(sys.argv[1]), ["ray.address=auto"]))
    print(cluster.slots())
    cluster.close()
except SearchError as error:
    print(error)
"""


@pytest.mark.parametrize("head", ["asks for a token"], indirect=True)
def test_auto_joins_with_the_token_as_an_address_does(tiny, monkeypatch, head):
    """By RAY_ADDRESS here: other Ray clusters may run on this machine."""
    monkeypatch.setenv(ADDRESS, head[0])
    monkeypatch.setenv(TOKEN, 64 * "a")
    done = subprocess.run([sys.executable, "-c", JOIN, str(tiny)], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_auto_without_a_cluster_is_one_line(tiny, monkeypatch):
    monkeypatch.setenv(ADDRESS, "local")
    with pytest.raises(SearchError, match="cannot start Ray at ray.address auto: no Ray runs on this machine; make it"):
        Cluster(load_study(tiny, ["ray.address=auto"]))


def test_a_mode_that_the_user_chose_stays(monkeypatch, head):
    address, asks = head
    monkeypatch.setenv(MODE, "disabled")
    monkeypatch.setenv(TOKEN, 64 * "a")
    if asks:
        with pytest.raises(SearchError, match="asks for a token; unset RAY_AUTH_MODE"), on_a_cluster(address):
            pass
        monkeypatch.setenv(MODE, "token")
    with on_a_cluster(address):
        assert os.environ[MODE] == ("token" if asks else "disabled")


def test_a_port_where_no_ray_answers_is_told(monkeypatch):
    monkeypatch.setattr(connection, "CLIENT", "import time; time.sleep(9)")
    monkeypatch.setattr(connection, "ASK_SECONDS", 0.1)
    with pytest.raises(SearchError, match="the port answers, but no head of a Ray cluster"), on_a_cluster("host:1"):
        pass


def test_the_advice_names_the_command():
    assert advice("10.0.0.1:6379") == ("this machine must be a node of the cluster: ray start --address=10.0.0.1:6379")


def test_a_folder_for_temporary_files_that_cannot_be_written_is_one_line(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(SearchError, match="cannot start Ray on this machine: .*No such file or directory"):
        Cluster(load_study(tiny))


def test_a_start_that_fails_leaves_the_environment_as_it_was(tiny, monkeypatch):
    def fails(**_: object) -> None:
        assert os.environ[MODE] == "token"
        raise RuntimeError("no room")

    monkeypatch.setattr("ray.init", fails)
    with pytest.raises(SearchError, match="cannot start Ray on this machine: no room") as error:
        Cluster(load_study(tiny))
    assert error.tb is not None  # its frames live, so that no garbage collection tidies up
    assert {MODE, TOKEN_FILE}.isdisjoint(os.environ)


def test_a_run_folder_that_is_not_shared_is_named_with_its_host(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "PAUSE_SECONDS", 0.0)
    marker = tmp_path / "runs" / "tiny" / "ray-1-2" / "shared"
    with pytest.raises(NotShared, match=rf"the host \S+ does not see the run folder {tmp_path}/runs/tiny; set"):
        host.check_shared(marker)
    marker.parent.mkdir(parents=True)
    marker.touch()
    host.check_shared(marker)


NODE = "The actor died because its node has died. Node Id: 5f\n\tthe actor's node was terminated unexpectedly"
SOCKET = "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) OOM"
GRPC = "rpc error: code 14, IOError: connection to all addresses failed"


class Died(ActorDiedError):
    def __init__(self, text: str) -> None:
        self.error_msg = text


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ActorUnavailableError(GRPC, None), "its node could not be reached"),
        (Died(NODE), "its node was lost: it was switched off, or cut off for too long"),
        (Died("The actor died.\nWorker exit detail: killed by signal 9. More."), "killed by signal 9"),
        (
            Died(f"The actor died.\nWorker exit detail: {SOCKET}"),
            "it was killed, crashed in compiled code, or called os._exit",
        ),
        (Died("The actor died unexpectedly."), "its process died, and Ray does not say why"),
    ],
)
def test_a_lost_node_is_no_want_of_memory(error, says):
    assert says in _why(error)
    assert "memory" not in _why(error)
    assert "OOM" not in _why(error)
