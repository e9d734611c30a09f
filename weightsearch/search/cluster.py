"""Starting or joining Ray, and what it has to offer."""

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
    signals_kept,
)
from weightsearch.study.url import passwords

if TYPE_CHECKING:
    from weightsearch.search.nodes import Nodes

POSTGRES: Final = re.compile(r"postgres\w*(\+\w+)?://([^:/@\s]*:[^@\s]|\S*password=)")  # with a password
SECRET: Final = ("PGPASSWORD", "WEIGHTSEARCH_DASHBOARD_TOKEN")
NEEDED: Final = frozenset({"raylet", "gcs_server"})
OBJECT_STORE_BYTES: Final = 200 * 2**20
CONNECT_SECONDS: Final = 10


class ClusterLost(SearchError):
    """Ray's own processes on this machine died; what they ran is not lost."""


class Cluster:
    """A connection to Ray. resources: CPUs and GPUs of one trial. tell: takes warnings."""

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
            cpus, found = asked.cpus_per_trial, f"{total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs"
            self.close()
            raise SearchError(f"resources: one trial takes {cpus} CPUs and {gpus:g} GPUs; Ray has {found}")

    def _make_private(self) -> None:
        try:
            self._exit.enter_context(on_this_machine())
        except OSError as error:  # no folder for temporary files, or a full one
            raise SearchError(f"cannot start Ray on this machine: {first_line(error)}") from error

    def _connect(self) -> None:
        from weightsearch.search.ray_internals import mute, read_token_again

        mute()
        common: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
        with signals_kept(), self._told():
            if self.address is None:
                read_token_again()
                # `local`: without it Ray would join whatever cluster happens to run on this machine.
                mine = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
                with _without(secret_variables(self.storage)):  # which Ray's processes would inherit
                    self.ray.init(address="local", **mine, **common)
            else:
                address = self._found(self.address)
                connect(address, CONNECT_SECONDS)  # Ray itself would try for minutes
                self._exit.enter_context(on_a_cluster(address))
                read_token_again()
                try:
                    self.ray.init(address=address, **common)
                except ConnectionError as error:
                    raise SearchError(f"{first_line(error)}; {advice(address)}") from error

    def _found(self, address: str) -> str:
        """The host:port of an address. Raises SearchError if there is none."""
        from weightsearch.search.ray_internals import running_cluster

        try:
            found = running_cluster() if address == "auto" else address
        except ConnectionError:
            raise SearchError(
                "no Ray runs on this machine; make it a node of the cluster: ray start --address=HOST:PORT, or on the "
                "first host ray start --head"
            ) from None
        check_address(found)  # `auto` may be what RAY_ADDRESS holds
        return found

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise every error as a SearchError that says where Ray was to be started or joined."""
        where = "on this machine" if self.address is None else f"at ray.address {self.address}"
        try:
            yield
        except Exception as error:  # connection, version and resource errors of every kind
            raise SearchError(f"cannot start Ray {where}: {self._reason(error)}") from error

    def _reason(self, error: Exception) -> str:
        """The first line of what Ray or the system says, with a remedy where one is known."""
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
        """Run a function on every host of a cluster that was joined, now and on those that join later. missing: gives
        the fault of the host that it runs on, or None. Raises SearchError for a host with a fault."""
        if self.address is not None:
            from weightsearch.search.nodes import Nodes

            self.nodes = Nodes(lambda node: _fit(node, self.resources) > 0, missing, self.tell)

    def total(self) -> Mapping[str, float]:
        found: Mapping[str, float] = self.ray.cluster_resources()
        return found

    def slots(self) -> int:
        """The number of trials that can run at once now: nodes may come and go, and no trial spans two of them."""
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        found = sum(_fit(node, self.resources) for node in nodes)
        return found if self.max_concurrent is None else min(found, self.max_concurrent)

    def check(self) -> None:
        """Raise ClusterLost if the Ray that was started here has lost a process it cannot do without: Ray itself would
        wait, or try again for ever. Raise SearchError if a node of a cluster cannot train."""
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
    """The number of trials that fit on a node. A share of a GPU lies on one GPU; more than one are whole."""
    fits = int(node.get("CPU", 0) / trial["cpu"])
    gpu, gpus = trial["gpu"], int(node.get("GPU", 0))
    if gpu > 0:
        fits = min(fits, gpus * int(1 / gpu + 1e-9) if gpu <= 1 else int(gpus / gpu))
    return fits


def secret_variables(storage: str) -> set[str]:
    """The environment variables that a driver alone may have: those with the database's password in whatever form, and
    any other PostgreSQL URL that has one."""
    known = passwords(make_url(storage))
    if given := os.environ.get("PGPASSWORD"):
        known.append(given)

    def tells(value: str) -> bool:
        plain = unquote(value)
        if POSTGRES.search(value) or plain.strip(" \n'\"") in known:
            return True
        return any(password in text for password in known if len(password) >= 4 for text in (plain, value))

    return {name for name, value in os.environ.items() if name in SECRET or tells(value)}


@contextmanager
def _without(names: set[str]) -> Iterator[None]:
    """The environment without these variables."""
    kept = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(kept)
