"""The nodes of a cluster that was joined: whether its head answers, and whether each one can import this program."""

from __future__ import annotations

import pkgutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Final

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from weightsearch.errors import SearchError, kind_and_line
from weightsearch.search.connection import HEAD_SECONDS, connect

PROGRAM: Final = "weightsearch.errors:__name__"  # a quick import: nodes are asked before any trial begins
FIRST_SECONDS: Final = 60.0  # for the nodes that are there when the driver comes
CONNECT_SECONDS: Final = 1.0
JOIN_SECONDS: Final = 5.0
WARN_SECONDS: Final = 10.0  # of a head that does not answer
LOOK_SECONDS: Final = 2.0  # between two looks at nodes that came later, and at their answers


class HeadWatch:
    """Warns of a head that does not answer: after HEAD_SECONDS Ray ends the driver and says little. It runs in a thread
    of its own, since calls of Ray wait for the head. address: the head's, host:port. tell: takes a warning."""

    def __init__(self, address: str, tell: Callable[[str], None]) -> None:
        self.address = address
        self.tell = tell
        self._closed = Event()
        self._thread = Thread(target=self._watch, name="head", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(JOIN_SECONDS)

    def _watch(self) -> None:
        answered, told = time.monotonic(), False
        while not self._closed.wait(LOOK_SECONDS):
            with suppress(OSError):
                connect(self.address, CONNECT_SECONDS)
                answered, told = time.monotonic(), False
            away = time.monotonic() - answered
            if away >= WARN_SECONDS and not told:
                told = True
                self.tell(
                    f"the head of the Ray cluster at {self.address} has not answered for {away:.0f} s; after "
                    f"{HEAD_SECONDS} s Ray ends this driver. If the head is lost, start Ray there again, then on every "
                    "other host, and give the same command; nothing is lost"
                )


class Nodes:
    """Asks every node, once, to import the program: Ray itself only says that the process of a trial died."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.asked: dict[str, str] = {}  # node -> host name
        self.waiting: dict[Any, str] = {}  # the future of an answer -> node
        self._looked = clock()
        self._ask()
        self._hear(FIRST_SECONDS)

    def check(self) -> None:
        """Raise SearchError if a node cannot import the program. Called all the time."""
        if self.clock() - self._looked >= LOOK_SECONDS:
            self._looked = self.clock()
            self._ask()
            self._hear(0.0)

    def _ask(self) -> None:
        task = ray.remote(num_cpus=0, max_retries=0)(pkgutil.resolve_name)  # part of Python: every node has it
        for node in ray.nodes():
            if _may_train(node) and node["NodeID"] not in self.asked:
                here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                self.asked[node["NodeID"]] = node["NodeManagerHostname"]
                self.waiting[task.options(scheduling_strategy=here).remote(PROGRAM)] = node["NodeID"]

    def _hear(self, seconds: float) -> None:
        if not self.waiting:
            return
        ready, _ = ray.wait(list(self.waiting), num_returns=len(self.waiting), timeout=seconds)
        for future in ready:
            host = self.asked[self.waiting.pop(future)]
            try:
                ray.get(future)
            except RayTaskError as error:
                raise SearchError(
                    f"the host {host} cannot import weightsearch ({kind_and_line(error.cause)}); install the same "
                    "packages in the Python environment that `ray start` uses there, start Ray there again, and give "
                    "the same command; nothing is lost"
                ) from None
            except RayError:  # the node is gone again
                continue


def _may_train(node: Mapping[str, Any]) -> bool:
    return bool(node["Alive"]) and node["Resources"].get("CPU", 0) > 0
