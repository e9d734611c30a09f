"""Joining a cluster by its address, and sharing GPUs by fractions. The GPUs are Ray's bookkeeping only: no CUDA here."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import IO

import pytest
import ray

from tests.conftest import TINY
from tests.helpers.clusters import cluster, head
from tests.integration.commands import WEIGHTSEARCH, command, curves, epochs_of, shown, wait_for_epochs
from weightsearch.config import load_study
from weightsearch.errors import SearchError

pytestmark = pytest.mark.slow


ADDRESS = """
import sys, time
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "num_gpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=2)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def run_at(
    address: str, folder: Path, *words: str, stdout: int | IO[str], stderr: int | IO[str]
) -> subprocess.Popen[str]:
    """Start a driver of the folder's study on a cluster. words: further arguments."""
    arguments = [*WEIGHTSEARCH, "run", "tiny.yaml", "--set", f"ray.address={address}", *words]
    return subprocess.Popen(arguments, cwd=folder, stdout=stdout, stderr=stderr, text=True)


@pytest.fixture(scope="module")
def address():
    """A cluster of a node with three CPUs that says it has a GPU, and one with two CPUs."""
    with cluster(ADDRESS) as (found, _):
        yield found


NODES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
for _ in range(2):
    cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
print("removed", flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.mark.timeout(500)
def test_a_lost_node_loses_no_trial(tmp_path):
    """Three nodes with a worker each, one of them killed in mid-study: its trial goes on elsewhere from its checkpoint."""
    study = TINY.replace("epochs: 4,", "epochs: 70,").replace("trials: 6", "trials: 4")
    (tmp_path / "tiny.yaml").write_text(study.replace("pruner: {name: successive_halving", "pruner: none #"))
    with cluster(NODES) as (address, keeper):
        driver = run_at(address, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            wait_for_epochs(tmp_path / "tiny.db", 1, 200)
            while not [len(curve) >= 2 for curve in curves(tmp_path / "tiny.db").values()].count(True) >= 3:
                assert driver.poll() is None
                time.sleep(0.1)
            keeper.stdin.write("\n")
            keeper.stdin.flush()
            assert next(line for line in keeper.stdout if line.strip()) == "removed\n"
            said, _ = driver.communicate(timeout=240)
            assert driver.returncode == 0, said
        finally:
            driver.kill()
    assert "its worker failed, it resumes from its checkpoint" in said
    assert f"the host {platform.node()} left the Ray cluster: it was stopped, or cut off for too long" in said
    assert "(raylet)" not in said
    assert shown(tmp_path)["states"] == {"COMPLETE": 4, "PRUNED": 0, "FAIL": 0, "RUNNING": 0, "WAITING": 0}
    connection = sqlite3.connect(tmp_path / "tiny.db")
    failures = connection.execute("SELECT failures FROM weightsearch_assignments WHERE failures > 0").fetchall()
    attempts = connection.execute("SELECT max(attempts) FROM weightsearch_trials").fetchone()[0]
    connection.close()
    assert failures == [(1,)]
    assert attempts == 2
    assert epochs_of(tmp_path / "tiny.db") == [list(range(1, 71))] * 4


SLOTS = """
import sys
from pathlib import Path
from weightsearch.search.cluster import Cluster
from weightsearch.config import load_study
for sets in sys.argv[2:]:
    cluster = Cluster(load_study(Path(sys.argv[1]), sets.split()))
    print(cluster.slots(), cluster.resources["cpu"], cluster.resources["gpu"])
    cluster.close()
"""


def test_as_many_trials_at_once_as_the_cluster_holds(address, tiny):
    cases = {
        "gpus_per_trial=0": "5 1.0 0.0",
        "gpus_per_trial=0 resources.cpus_per_trial=2": "2 2.0 0.0",
        "gpus_per_trial=0.5": "2 1.0 0.5",
        "gpus_per_trial=0.6": "1 1.0 0.6",
        "gpus_per_trial=1": "1 1.0 1.0",
        "gpus_per_trial=auto": "1 1.0 1.0",
        "gpus_per_trial=0 resources.max_concurrent=1": "1 1.0 0.0",
    }
    sets = [f"ray.address={address} resources.{case}" for case in cases]
    done = subprocess.run([sys.executable, "-c", SLOTS, str(tiny), *sets], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(cases.values())


def test_workers_start_side_by_side_and_none_is_stopped_by_short_trials(address, tmp_path):
    """Trials that take less time than a worker takes to start: every slot's worker gets to train, and trains on."""
    note = (
        "import os, pathlib\n"
        "class Note:\n"
        "    def __init__(self):\n"
        "        if 'RAY_JOB_ID' in os.environ:\n"
        f"            with pathlib.Path({str(tmp_path)!r}, f'worker-{{os.getpid()}}').open('a') as file:\n"
        "                file.write('.')\n"
        "    def __call__(self, prediction, batch):\n"
        "        return prediction['depth'].mean() ** 2\n"
    )
    (tmp_path / "note.py").write_text(note)
    terms = "  note: {term: 'note:Note', weight: 1.0e-6}\ntrain:"
    (tmp_path / "tiny.yaml").write_text(TINY.replace("epochs: 4", "epochs: 1").replace("train:", terms))
    sets = ["--set", "search.trials=40", "--set", "search.pruner=none", "--set", "resources.max_concurrent=3"]
    command("run", "tiny.yaml", "--set", f"ray.address={address}", *sets, cwd=tmp_path)
    trained = [len(file.read_text()) for file in tmp_path.glob("worker-*")]
    assert len(trained) == 3
    assert sum(trained) == 40


def states_in_order_of_end(database: Path) -> list[tuple[int, str]]:
    """Number and state of a study's trials, the first that ended first."""
    connection = sqlite3.connect(database)
    found = connection.execute("SELECT number, state FROM trials ORDER BY datetime_complete").fetchall()
    connection.close()
    return found


SHARED = """
import sys
import ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, "include_dashboard": False})
ray.init(cluster.address, logging_level="critical")

@ray.remote(num_cpus=1)
class Other:
    def here(self): ...

other = Other.remote()
ray.get(other.here.remote())
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def test_where_others_hold_places_no_trial_waits_for_the_end(tmp_path):
    """Three CPUs, one of them somebody else's: the third trial that is handed out takes the next worker that is free."""
    (tmp_path / "tiny.yaml").write_text(TINY.replace("epochs: 4", "epochs: 1"))
    sets = ["--set", "search.trials=12", "--set", "search.pruner=none"]
    with cluster(SHARED) as (address, _):
        command("run", "tiny.yaml", "--set", f"ray.address={address}", *sets, cwd=tmp_path)
    ended = [number for number, _ in states_in_order_of_end(tmp_path / "tiny.db")]
    assert sorted(ended) == list(range(12))
    assert max(place - number for place, number in enumerate(ended)) <= 6  # one that waits for the end: 10


def test_two_drivers_of_a_study_and_one_of_another_share_two_places_and_all_end(tmp_path):
    """The first driver has both places when the others come. Without a rule its idle workers keep them for ever."""
    (tmp_path / "tiny.yaml").write_text(TINY.replace("trials: 6", "trials: 10"))
    mine = ["--join", "--set", "search.pruner=none"]
    other = ["--set", "name=other", "--set", "storage=sqlite:///other.db", "--set", "search.trials=2"]
    drivers = []
    with cluster(head(2)) as (address, _):
        try:
            for words, name in ((mine, "first"), (mine, "second"), (other, "other")):
                with (tmp_path / f"{name}.txt").open("w") as said:
                    drivers.append(run_at(address, tmp_path, *words, stdout=said, stderr=said))
                if name == "first":
                    wait_for_epochs(tmp_path / "tiny.db", 2, 200)
            for driver in drivers:
                driver.wait(timeout=240)
        finally:
            for driver in drivers:
                driver.kill()
    for driver, name in zip(drivers, ("first", "second", "other"), strict=True):
        assert driver.returncode == 0, (tmp_path / f"{name}.txt").read_text()
    for database, trials in (("tiny.db", 10), ("other.db", 2)):
        states = [state for _, state in states_in_order_of_end(tmp_path / database)]
        assert len(states) == trials
        assert {"RUNNING", "WAITING"}.isdisjoint(states)


def test_a_worker_that_was_promised_a_gpu_and_has_none_says_so(address, tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    sets = ["--set", "resources.gpus_per_trial=0.5", "--set", "search.trials=2"]
    done = command("run", "tiny.yaml", "--set", f"ray.address={address}", *sets, cwd=tmp_path, expect=1)
    assert "device cuda: this machine has 0 GPUs that torch can use" in done.stderr


def test_what_two_nodes_hold_only_together_is_one_line(address, tiny):
    sets = f"ray.address={address} resources.gpus_per_trial=0 resources.cpus_per_trial=4"
    done = subprocess.run([sys.executable, "-c", SLOTS, str(tiny), sets], capture_output=True, text=True, check=False)
    assert "one trial takes 4 CPUs and 0 GPUs" in done.stderr


def test_what_no_node_holds_is_one_line(tiny):
    config = load_study(tiny, ["resources.gpus_per_trial=4"])
    from weightsearch.search.cluster import Cluster

    with pytest.raises(SearchError, match=r"one trial takes 1 CPUs and 4 GPUs; Ray has"):
        Cluster(config)


def test_a_node_that_cannot_import_the_program_stops_the_study_before_a_trial_fails(tmp_path):
    """Ray would start its workers there, again and again, and only say that they died."""
    bare = tmp_path / "bare"
    venv.create(bare, symlinks=True)
    # A path in a .pth file brings the packages, but not the .pth files beside them, such as that of this program.
    next(bare.glob("lib/python*/site-packages")).joinpath("packages.pth").write_text(str(Path(ray.__file__).parents[1]))
    python = f"sys.executable = {str(bare / 'bin/python')!r}\ncluster = Cluster("
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    (tmp_path / "tiny.yaml").write_text(TINY)
    with cluster(head(2).replace("cluster = Cluster(", python), environment) as (address, _):
        done = command("run", "tiny.yaml", "--set", f"ray.address={address}", cwd=tmp_path, expect=1)
    (line,) = [line for line in done.stderr.splitlines() if "import" in line]
    missing = "ModuleNotFoundError: No module named 'weightsearch'"
    assert line.startswith(f"the host {platform.node()} cannot import weightsearch ({missing}); install ")
    assert "there is no study 'tiny'" in command("show", "tiny.yaml", cwd=tmp_path, expect=2).stderr


DATA = """
import os
from weightsearch.data.sources.procedural import Procedural
from weightsearch.errors import DataError


class Rooms(Procedural):
    def __init__(self, *, size: tuple[int, int], scenes: int = 2, frames: int = 16):
        if "WITHOUT_DATA" in os.environ:
            raise DataError("rooms.txt: no such file")
        super().__init__(size=size, scenes=scenes, frames=frames)
"""


def test_a_host_without_the_data_stops_the_study_before_a_trial_begins(tmp_path):
    """Its trials would be tried again on other hosts, and fail or not by chance."""
    (tmp_path / "rooms.py").write_text(DATA)
    (tmp_path / "tiny.yaml").write_text(TINY.replace("name: procedural", "name: 'rooms:Rooms'"))
    bare = 'cluster.add_node(num_cpus=1, env_vars={"WITHOUT_DATA": "1"})\nprint(cluster.address'
    with cluster(head(2).replace("print(cluster.address", bare)) as (address, _):
        done = command("run", "tiny.yaml", "--set", f"ray.address={address}", cwd=tmp_path, expect=1)
        assert "there is no study 'tiny'" in command("show", "tiny.yaml", cwd=tmp_path, expect=2).stderr
        two = ["--set", "resources.cpus_per_trial=2", "--set", "search.trials=2"]  # too many for the host without data
        command("run", "tiny.yaml", "--set", f"ray.address={address}", *two, cwd=tmp_path)
    last = done.stderr.splitlines()[-1]
    assert last == (
        f"on the host {platform.node()}: data: rooms.txt: no such file; fix that, then give the same command; "
        "nothing is lost"
    )


@pytest.mark.timeout(400)
def test_a_head_that_is_lost_is_told_before_ray_ends_the_driver(tmp_path):
    script = head(1).replace("sys.stdin.read()", "sys.stdin.readline()\ncluster.head_node.kill_gcs_server()", 1)
    (tmp_path / "tiny.yaml").write_text(TINY.replace("epochs: 4,", "epochs: 5000,"))
    with (
        cluster(script.replace("cluster.shutdown()", "sys.stdin.read()\ncluster.shutdown()")) as (address, keeper),
        run_at(address, tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as driver,
    ):
        try:
            wait_for_epochs(tmp_path / "tiny.db", 2)
            keeper.stdin.write("\n")
            keeper.stdin.flush()
            lines = []
            while not lines or "the head of the Ray cluster" not in lines[-1]:
                lines.append(driver.stderr.readline())
                assert lines[-1], lines
        finally:
            driver.kill()
    assert lines[-1].startswith(f"warning: the head of the Ray cluster at {address} has not answered for 1")
    assert lines[-1].endswith("give the same command; nothing is lost\n")
