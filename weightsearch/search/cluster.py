"""Starting or joining Ray, and its resources."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from sqlalchemy.engine import make_url

from weightsearch.config import StudyConfig
from weightsearch.errors import SearchError, first_line
from weightsearch.search.connection import (
    SETTINGS,
    advice,
    check_address,
    connect,
    on_a_cluster,
    on_this_machine,
    preserved_signals,
)
from weightsearch.study.url import passwords

if TYPE_CHECKING:
    from weightsearch.search.nodes import Nodes

POSTGRES: Final = re.compile(r"postgres\w*(\+\w+)?://([^:/@\s]*:[^@\s]|\S*password=)")  # URL with a password
SECRET: Final = ("PGPASSWORD", "WEIGHTSEARCH_DASHBOARD_TOKEN")
NEEDED: Final = frozenset({"raylet", "gcs_server"})
OBJECT_STORE_BYTES: Final = 200 * 2**20
CONNECT_SECONDS: Final = 10


class ClusterLost(SearchError):
    """Ray's own processes on this machine died; the trials are not lost."""


class Cluster:
    """Connection to Ray. resources: CPUs and GPUs per trial. tell: called with warnings."""

    def __init__(self, config: StudyConfig, tell: Callable[[str], None] = lambda _: None) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        self.address = config.ray.address
        self.storage = config.storage
        self._exit = ExitStack()
        try:
            if self.address is None:
                self._make_private()
            import ray

            logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the ledger reports failed trials
            self.ray = ray
            self.owned = not ray.is_initialized()
            if self.owned:
                self._connect()
        except BaseException:
            self._exit.close()
            raise
        self.tell = tell
        self.nodes: Nodes | None = None
        self._watch_head()
        asked = config.base.resources
        total = self.total()
        gpus = asked.gpus_per_trial
        if gpus == "auto":
            gpus = 1.0 if total.get("GPU", 0) >= 1 else 0.0
        self.resources = {"cpu": float(asked.cpus_per_trial), "gpu": float(gpus)}
        self.max_concurrent = asked.max_concurrent
        if self.slots() < 1:
            cpus, available = asked.cpus_per_trial, f"{total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs"
            self.close()
            raise SearchError(f"resources: one trial takes {cpus} CPUs and {gpus:g} GPUs; Ray has {available}")

    def _make_private(self) -> None:
        try:
            self._exit.enter_context(on_this_machine())
        except OSError as error:  # the folder for temporary files is missing or full
            raise SearchError(f"cannot start Ray on this machine: {first_line(error)}") from error

    def _connect(self) -> None:
        from weightsearch.search.ray_internals import mute, read_token_again

        mute()
        common: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
        with preserved_signals(), self._told():
            if self.address is None:
                read_token_again()
                # Without `local`, Ray would join any cluster that runs on this machine.
                mine = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
                with _without(secret_variables(self.storage)):  # Ray's processes would inherit them
                    self.ray.init(address="local", **mine, **common)
            else:
                address = self._resolved(self.address)
                connect(address, CONNECT_SECONDS)  # Ray itself would try for minutes
                self._exit.enter_context(on_a_cluster(address))
                read_token_again()
                try:
                    self.ray.init(address=address, **common)
                except ConnectionError as error:
                    raise SearchError(f"{first_line(error)}; {advice(address)}") from error

    def _resolved(self, address: str) -> str:
        """Resolve an address to host:port. Raises SearchError if `auto` finds no cluster."""
        from weightsearch.search.ray_internals import running_cluster

        try:
            resolved = running_cluster() if address == "auto" else address
        except ConnectionError:
            raise SearchError(
                "no Ray runs on this machine; make it a node of the cluster: ray start --address=HOST:PORT, or on the "
                "first host ray start --head"
            ) from None
        check_address(resolved)  # `auto` may give the value of RAY_ADDRESS
        return resolved

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn every error into a SearchError that names where Ray was to be started or joined."""
        where = "on this machine" if self.address is None else f"at ray.address {self.address}"
        try:
            yield
        except Exception as error:  # connection, version and resource errors of every kind
            raise SearchError(f"cannot start Ray {where}: {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        """First line of an error, with advice for common errors."""
        text = first_line(error)
        if isinstance(error, ConnectionRefusedError):
            return f"{text}; is the head running there? ray start --head prints HOST:PORT"
        if self.address is None and "timed out" in text:
            return f"{text}; if the machine is busy, give the same command later; nothing is lost"
        return text

    def _watch_head(self) -> None:
        if self.address is not None:
            from weightsearch.search.nodes import watch_head

            self._exit.callback(watch_head(self.ray.get_runtime_context().gcs_address, self.tell).close)

    def ask_hosts(self, missing: Callable[[], str | None]) -> None:
        """Check every host of a joined cluster, now and when a host joins later. missing: runs on the host and returns
        its fault, or None. Raises SearchError for a host with a fault."""
        if self.address is not None:
            from weightsearch.search.nodes import Nodes

            self.nodes = Nodes(lambda node: _fit(node, self.resources) > 0, missing, self.tell)

    def total(self) -> Mapping[str, float]:
        resources: Mapping[str, float] = self.ray.cluster_resources()
        return resources

    def slots(self) -> int:
        """Number of trials that can run at once now. Nodes may come and go; a trial never spans two nodes."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        count = sum(_fit(node, self.resources) for node in nodes)
        return count if self.max_concurrent is None else min(count, self.max_concurrent)

    def check(self) -> None:
        """Raise ClusterLost if a Ray that was started here has lost an essential process: Ray itself would wait or
        retry for ever. Raise SearchError if a node of a cluster cannot train."""
        if self.nodes is not None:
            self.nodes.check()
        if self.owned:
            from weightsearch.search.ray_internals import dead_processes

            dead = sorted(dead_processes() & NEEDED)
            if dead:
                raise ClusterLost(f"Ray's process {' and '.join(dead)} died")

    def close(self) -> None:
        if self.owned:
            self.ray.shutdown()
        self._exit.close()


def _fit(node: Mapping[str, float], trial: Mapping[str, float]) -> int:
    """Number of trials that fit on a node. A fraction of a GPU is on one GPU; more than one GPU are whole GPUs."""
    fits = int(node.get("CPU", 0) / trial["cpu"])
    gpu, gpus = trial["gpu"], int(node.get("GPU", 0))
    if gpu > 0:
        fits = min(fits, gpus * int(1 / gpu + 1e-9) if gpu <= 1 else int(gpus / gpu))
    return fits


def secret_variables(storage: str) -> set[str]:
    """Names of environment variables that only a driver may have: those with the database's password in any form, and
    those with a PostgreSQL URL that has a password."""
    secrets = passwords(make_url(storage))
    if given := os.environ.get("PGPASSWORD"):
        secrets.append(given)

    def tells(value: str) -> bool:
        plain = unquote(value)
        if POSTGRES.search(value) or plain.strip(" \n'\"") in secrets:
            return True
        return any(password in text for password in secrets if len(password) >= 4 for text in (plain, value))

    return {name for name, value in os.environ.items() if name in SECRET or tells(value)}


@contextmanager
def _without(names: set[str]) -> Iterator[None]:
    """Remove environment variables within the block."""
    removed = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(removed)
