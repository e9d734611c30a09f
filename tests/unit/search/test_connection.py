"""The environment in which Ray is started or joined."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from tests.integration.test_cluster import cluster
from weightsearch.errors import NotShared
from weightsearch.search import sharing
from weightsearch.search.connection import MODE, TOKEN, TOKEN_FILE, advice, on_a_cluster, on_this_machine
from weightsearch.search.scheduler import _why


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in (MODE, TOKEN, TOKEN_FILE):
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


HEAD = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module", params=["asks for a token", "asks for none"])
def head(request):
    """The address of a Ray cluster, and whether it asks for a token."""
    asks = request.param == "asks for a token"
    environment = {name: value for name, value in os.environ.items() if name not in (MODE, TOKEN, TOKEN_FILE)}
    environment |= {MODE: "token", TOKEN: 64 * "a"} if asks else {MODE: "disabled"}
    with cluster(HEAD, environment) as (address, _):
        yield address, asks


@pytest.mark.parametrize("where", ["home", "file", "variable", "nowhere"])
def test_a_cluster_that_asks_for_a_token_gets_the_one_that_there_is(home, monkeypatch, head, where):
    """One that asks for none must not be joined with a token: the driver would refuse its calls."""
    address, asks = head
    if where == "home":
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text(64 * "a")
    elif where == "file":
        (home / "token").write_text(64 * "a")
        monkeypatch.setenv(TOKEN_FILE, str(home / "token"))
    elif where == "variable":
        monkeypatch.setenv(TOKEN, 64 * "a")
    with on_a_cluster(address):
        assert os.environ.get(MODE) == ("token" if asks and where != "nowhere" else None)
    assert MODE not in os.environ


def test_a_mode_that_the_user_chose_stays(monkeypatch):
    monkeypatch.setenv(MODE, "disabled")
    monkeypatch.setenv(TOKEN, "0")
    with on_a_cluster("127.0.0.1:1"):
        assert os.environ[MODE] == "disabled"


def test_the_advice_names_the_command_and_the_token_where_there_is_none(monkeypatch):
    assert advice("10.0.0.1:6379") == (
        "this machine must be a node of the cluster: ray start --address=10.0.0.1:6379; "
        "if the cluster has a token, name its file with RAY_AUTH_TOKEN_PATH=FILE"
    )
    monkeypatch.setenv(TOKEN, "0")
    assert advice("10.0.0.1:6379").endswith("ray start --address=10.0.0.1:6379")


def test_a_run_folder_that_is_not_shared_is_named_with_its_host(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "PAUSE_SECONDS", 0.0)
    marker = tmp_path / "runs" / "tiny" / "ray-1-2" / "shared"
    with pytest.raises(NotShared, match=rf"the host \S+ does not see the run folder {tmp_path}/runs/tiny; set"):
        sharing.check_shared(marker)
    marker.parent.mkdir(parents=True)
    marker.touch()
    sharing.check_shared(marker)


NODE = "The actor died because its node has died. Node Id: 5f\n\tthe actor's node was terminated unexpectedly"
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
        (Died("The actor died unexpectedly."), "its process died, and Ray does not say why"),
    ],
)
def test_a_lost_node_is_no_want_of_memory(error, says):
    assert says in _why(error)
    assert "memory" not in _why(error)
